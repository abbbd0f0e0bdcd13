"""The differences between two builds of a file, down to the files inside of it.

A file that contains others, such as a squashfs on an ISO, differs because files in it differ; only these are listed. If
all files in it are equal, the container itself is listed, with the first byte that differs.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.reproduce.members import Container, Member, Members, container_of, read_members
from stagewright.untrusted import open_regular

DEEPEST = 4
"""Largest number of containers around a file: a file in a squashfs on an ISO has two."""

_CHUNK = 1 << 20
_LARGEST_TEXT = 1 << 20
_DIGESTS = re.compile(rb"(?<![0-9A-Za-z])[0-9a-f]{32,128}(?![0-9A-Za-z])")
"""Digests in texts: they differ because something else does."""


@dataclass(frozen=True)
class FileDifference:
    """A file that differs.

    ``inside`` are the paths of the containers around it, outermost first; ``path`` is absolute in the innermost one, or
    empty for an artifact itself. ``what`` are the properties that differ: ``missing``, ``added``, ``type``, ``mode``,
    ``owner``, ``size``, ``time``, ``content``, ``attributes``, or ``container``: other bytes around equal files.
    ``detail`` has values for people. ``follows`` is True for a text in which only digests differ, of other files.
    """

    inside: tuple[str, ...]
    path: str
    what: tuple[str, ...]
    detail: str = ""
    follows: bool = False
    copies: tuple[Path, Path] | None = field(default=None, compare=False, repr=False)  # of both files, for other tools

    @property
    def name(self) -> str:
        """The whole path, for people."""
        return ":".join([*self.inside, *([self.path] if self.path else [])])

    @property
    def place(self) -> str:
        """The path in the innermost container that the file is in."""
        return self.path or self.inside[-1]


def file_differences(name: str, old: Path, new: Path, work: Path) -> list[FileDifference]:
    """Return the differences between two builds of a file called ``name``: empty if the bytes are equal.

    ``work`` is a folder for temporary files. It keeps copies of files that differ, in ``work/differing``.
    """
    if _first_byte(old, new) is None:
        return []
    (work / "differing").mkdir(exist_ok=True)
    found = list(_contained((name,), old, new, work))
    others = any(not one.follows for one in found)
    return [one if others else replace(one, follows=False) for one in found]


def _contained(inside: tuple[str, ...], old: Path, new: Path, work: Path) -> Iterator[FileDifference]:
    """Yield the differences between files that have other bytes."""
    kinds = (container_of(old), container_of(new))
    container = kinds[0]
    if container is None or container is not kinds[1] or len(inside) > DEEPEST:
        yield _container(inside, old, new, None)
        return
    try:
        both = [read_members(path, container, work) for path in (old, new)]
    except StagewrightError as error:
        if error.reason is not Reason.BAD_ARCHIVE:
            raise
        yield replace(_container(inside, old, new, None), detail=error.message)  # a damaged file
        return
    changed = list(_member_differences(inside, *both))
    if not changed:
        yield _container(inside, old, new, container)
        return
    wanted = [one.path for one in changed if "content" in one.what]
    copies = [_copies(path, container, wanted, work) for path in (old, new)]
    for one in changed:
        if one.path not in wanted:
            yield one
            continue
        first, second = (copy[one.path] for copy in copies)
        inner = list(_contained((*inside, one.path), first, second, work))
        if inner[0].path:  # files in it differ
            yield from inner
        else:
            what = tuple(word for word in one.what if word not in ("content", "size"))
            follows = _same_text(first, second)
            found = inner[0]
            yield replace(one, what=(*what, *found.what), detail=found.detail, follows=follows, copies=found.copies)


def _copies(path: Path, container: Container, wanted: Sequence[str], work: Path) -> dict[str, Path]:
    """Copy files out of a container, and return the copies by path."""
    folder = work / "differing" / secrets.token_hex(4)
    folder.mkdir()
    names = {name: folder / f"{number:04}-{Path(name).name[-100:]}" for number, name in enumerate(wanted)}
    read_members(path, container, work, names)
    return names


def _container(inside: tuple[str, ...], old: Path, new: Path, container: Container | None) -> FileDifference:
    """Return the difference of a file in which no other files differ: the last of ``inside``. Its path is empty."""
    sizes = [path.stat().st_size for path in (old, new)]
    at = _first_byte(old, new)
    what = "container" if container else "content"
    detail = f"{sizes[0]} and {sizes[1]} bytes" if sizes[0] != sizes[1] else f"first other byte at {at}"
    equal = f"the files in this {container} are equal, its other bytes are not; " if container else ""
    return FileDifference(inside, "", (what,), equal + detail, copies=(old.absolute(), new.absolute()))


def _member_differences(inside: tuple[str, ...], old: Members, new: Members) -> Iterator[FileDifference]:
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None or after is None:
            yield FileDifference(inside, path, ("added" if before is None else "missing",))
        elif what := tuple(_changes(before, after)):
            yield FileDifference(inside, path, what, "; ".join(_details(before, after, what)))


def _changes(old: Member, new: Member) -> Iterator[str]:
    if old.type != new.type:
        yield "type"
        return
    for name in ("mode", "owner", "size", "time", "content", "attributes"):
        if getattr(old, name) != getattr(new, name):
            yield name


def _details(old: Member, new: Member, what: Sequence[str]) -> Iterator[str]:
    for name in what:
        if name == "mode":
            yield f"mode {old.mode:04o} and {new.mode:04o}"
        elif name != "attributes" and not (name == "content" and old.type == "file"):
            yield f"{name} {getattr(old, name)} and {getattr(new, name)}"


def _first_byte(old: Path, new: Path) -> int | None:
    """Return the offset of the first byte that differs; None if the files are equal."""
    at = 0
    with open_regular(old) as one, open_regular(new) as two:
        while True:
            first, second = one.read(_CHUNK), two.read(_CHUNK)
            if first != second:
                shorter = min(len(first), len(second))
                pairs = zip(first, second, strict=False)
                return at + next((number for number, (x, y) in enumerate(pairs) if x != y), shorter)
            if not first:
                return None
            at += len(first)


def _same_text(old: Path, new: Path) -> bool:
    """Return True if two texts are equal but for digests in them."""
    both = []
    for path in (old, new):
        if path.stat().st_size > _LARGEST_TEXT:
            return False
        both.append(path.read_bytes())
    return b"\0" not in both[0] and _DIGESTS.sub(b"", both[0]) == _DIGESTS.sub(b"", both[1])
