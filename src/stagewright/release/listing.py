"""``<tarball>.CONTENTS.gz``: the listing of a tarball by ``tar --list -vv``, compressed like ``gzip -n``.

Tar prints the lines while it packs. It prints the original times of files although it writes clamped ones, so the times
are clamped here. Otherwise, two equal tarballs would have different listings.
"""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.release.artifact_digests import DigestedFile
from stagewright.release.tree import Tree, TreeEntry

_LINE = re.compile(
    rb"(?P<head>(?P<mode>[^\s.+*]{10})[.+*]? +(?P<owner>\d+/\d+) +(?P<size>\d+|\d+,\d+) )"
    rb"(?P<date>-?\d+-\d\d-\d\d \d\d:\d\d) (?P<name>[^\n]*)\n?"
)

_ESCAPED = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

_BLOCK = 4096  # unit of the size on disk


def write_contents(listing: Iterable[bytes], target: DigestedFile, epoch: int, on_size: Callable[[int], None]) -> None:
    """Write tar's listing, times clamped to ``epoch``. Call ``on_size`` with the size on disk of each file (bytes)."""
    last = time.strftime("%Y-%m-%d %H:%M", time.gmtime(epoch)).encode()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=target, mtime=0) as packed:
        lines: list[bytes] = []
        for line in listing:
            if found := _LINE.fullmatch(line):
                on_size(-(-int(found["size"]) // _BLOCK) * _BLOCK if found["size"].isdigit() else 0)
                if _later(found["date"], last):
                    line = b"%b%b %b\n" % (found["head"], last, found["name"])  # noqa: PLW2901
            lines.append(line)
            if len(lines) == 1000:
                packed.write(b"".join(lines))
                lines = []
        packed.write(b"".join(lines))


def _later(date: bytes, last: bytes) -> bool:
    return not date.startswith(b"-") and (len(date), date) > (len(last), last)


def read_contents(path: Path) -> Tree:
    """Return the tree of a listing. Raises ``BAD_ARCHIVE`` if the file is not a listing."""
    entries: dict[str, TreeEntry] = {}
    try:
        with gzip.open(path) as stream:
            for line in stream:
                found = _LINE.fullmatch(line)
                if not found:
                    raise ValueError(line)
                name, entry = _entry(found, entries)
                entries[name] = entry
    except (OSError, EOFError, ValueError, StopIteration) as error:
        raise StagewrightError(
            Reason.BAD_ARCHIVE, f"{path.name}: not a listing of a tarball ({error})", hint="build the tarball again"
        ) from error
    return Tree(entries)


def _entry(found: re.Match[bytes], known: dict[str, TreeEntry]) -> tuple[str, TreeEntry]:
    mode, name, target = found["mode"].decode(), found["name"], b""
    if mode[0] == "h":
        return _hard_link(name, known)
    if mode[0] == "l":
        name, _, target = name.partition(b" -> ")
    device = mode[0] in "bc"
    return _path(name), TreeEntry(
        mode=mode,
        owner=found["owner"].decode(),
        size=0 if device else int(found["size"]),
        target=found["size"].decode() if device else _plain(target),
    )


def _hard_link(name: bytes, known: dict[str, TreeEntry]) -> tuple[str, TreeEntry]:
    """Return another name of a listed file. Both names may contain " link to ", so the target must be known."""
    words = name.split(b" link to ")
    splits = [(b" link to ".join(words[:count]), b" link to ".join(words[count:])) for count in range(1, len(words))]
    return next((_path(first), known[_path(second)].as_link()) for first, second in splits if _path(second) in known)


def _path(name: bytes) -> str:
    return "/" + _plain(name).removeprefix(".").strip("/")


def _plain(name: bytes) -> str:
    """Return a name without the escapes of tar's quoting style ``escape``."""

    def unescaped(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes([int(code, 8)]) if len(code) == 3 else _LETTERS.get(code, code)

    return _ESCAPED.sub(unescaped, name).decode(errors="surrogateescape")
