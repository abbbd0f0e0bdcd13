"""Trees of files, read from a folder or a listing, and the differences between two of them.

Times are not compared. Content and extended attributes are compared only if both trees are folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_CHUNK = 1 << 20


@dataclass(frozen=True)
class TreeEntry:
    """One file, folder, link or device.

    ``mode`` has the format of ls(1), ``owner`` is ``uid/gid``, ``size`` is in bytes (0 except for files). ``target`` is
    the target of a link or the numbers of a device. ``again`` is True for another name of a file listed before.
    """

    mode: str
    owner: str
    size: int
    target: str = ""
    again: bool = field(default=False, compare=False)
    identity: tuple[int, ...] = field(default=(), compare=False)  # equal ones are the same file on disk

    def as_link(self) -> TreeEntry:
        """Return the same file under another name."""
        return replace(self, again=True)


@dataclass(frozen=True)
class Tree:
    """Entries by absolute path. ``base`` is the folder with their content, or None."""

    entries: Mapping[str, TreeEntry]
    base: Path | None = None

    @property
    def size(self) -> int:
        """The size of all files (bytes); hard links are counted once."""
        return sum(entry.size for entry in self.entries.values() if not entry.again)


@dataclass(frozen=True)
class PathChange:
    """A path that differs: the old and the new entry (None: missing), and the properties that differ."""

    path: str
    old: TreeEntry | None
    new: TreeEntry | None
    what: tuple[str, ...] = ()

    @property
    def growth(self) -> int:
        """The growth of the tree by this change (bytes)."""
        return _weight(self.new) - _weight(self.old)

    @property
    def size(self) -> int:
        """The larger of both sizes (bytes)."""
        return max(_weight(self.old), _weight(self.new))


def _weight(entry: TreeEntry | None) -> int:
    return entry.size if entry and not entry.again else 0


def read_tree(base: Path, skip: Sequence[str] = ()) -> Tree:
    """Read a folder without following links. Paths that end in one of ``skip`` are left out."""
    entries = {"/": _entry(os.fspath(base), set())}
    seen: set[tuple[int, int]] = set()
    waiting = _listed(os.fspath(base))
    while waiting:
        entry = waiting.pop()
        if not entry.path.endswith(tuple(skip)):
            entries[entry.path.removeprefix(os.fspath(base))] = _entry(entry.path, seen)
        if entry.is_dir(follow_symlinks=False):
            waiting += _listed(entry.path)
    return Tree(entries, base)


def _listed(folder: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, the last one first."""
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name, reverse=True)


def _entry(path: str, seen: set[tuple[int, int]]) -> TreeEntry:
    info = os.lstat(path)
    kind = info.st_mode
    target = ""
    if stat.S_ISLNK(kind):
        target = os.readlink(path)  # noqa: PTH115  pathlib would normalise the target
    elif stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        target = f"{os.major(info.st_rdev)},{os.minor(info.st_rdev)}"
    file = (info.st_dev, info.st_ino)
    again = stat.S_ISREG(kind) and info.st_nlink > 1 and file in seen
    seen.add(file)
    return TreeEntry(
        mode=stat.filemode(kind),
        owner=f"{info.st_uid}/{info.st_gid}",
        size=info.st_size if stat.S_ISREG(kind) else 0,
        target=target,
        again=again,
        identity=(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns) if stat.S_ISREG(kind) else (),
    )


def path_changes(old: Tree, new: Tree) -> list[PathChange]:
    """Return the paths that differ, sorted. Files that both trees share on disk (layers of a store) are not read."""
    found = []
    for path in sorted(old.entries.keys() | new.entries.keys()):
        before, after = old.entries.get(path), new.entries.get(path)
        if before is None or after is None:
            found.append(PathChange(path, before, after))
        elif what := tuple(_differences(old, new, path)):
            found.append(PathChange(path, before, after, what))
    return found


def _differences(old: Tree, new: Tree, path: str) -> Iterator[str]:
    before, after = old.entries[path], new.entries[path]
    if before.identity and before.identity == after.identity:
        return
    if before.mode[0] != after.mode[0]:
        yield "type"
        return
    if before.mode != after.mode:
        yield "mode"
    if before.owner != after.owner:
        yield "owner"
    if before.target != after.target:
        yield "target"
    both = (old.base, new.base)
    if before.size != after.size or (before.mode[0] == "-" and not _same_content(both, path)):
        yield "content"
    if _attributes(both[0], path, both[1]) != _attributes(both[1], path, both[0]):
        yield "attributes"


def _same_content(bases: tuple[Path | None, Path | None], path: str) -> bool:
    first, second = bases
    if first is None or second is None:
        return True
    with Path(f"{first}{path}").open("rb") as one, Path(f"{second}{path}").open("rb") as two:
        while chunk := one.read(_CHUNK):
            if chunk != two.read(_CHUNK):
                return False
    return True


def _attributes(base: Path | None, path: str, other: Path | None) -> dict[str, bytes]:
    """Return extended attributes, including ACLs and capabilities; empty if one tree has no content."""
    if base is None or other is None:
        return {}
    place = f"{base}{path}"
    names = os.listxattr(place, follow_symlinks=False)
    return {name: os.getxattr(place, name, follow_symlinks=False) for name in names}
