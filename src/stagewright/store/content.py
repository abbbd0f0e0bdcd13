"""The content of a result: a list of everything in its folders, and the digest of that list.

::

    <key>/content.gz    JSON Lines, compressed by gzip

The first line is the format. Each other line is one :class:`Entry` as an array, in the order of ``trees.walk``: a
folder, its entries that are not folders, its folders, each sorted by name. ``meta.json`` has the SHA-256 digest of the
text. An entry names no path but its depth, so the list stays short for a tree of any depth.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stagewright.attributes import CAPABILITIES, attributes
from stagewright.graph.file_digest import FileDigest
from stagewright.ids import capability_of
from stagewright.lazy_dataclass import dataclass
from stagewright.trees import Step, walk_tree

FILE_NAME = "content.gz"

PACKAGES = "binpkgs"
"""The part of a layer with its binary packages."""

PARTS = (PACKAGES, "tree")
"""Folders of a result that its list covers, in the order of the list."""

FORMAT = "stagewright content 1"

_CHUNK = 1 << 20

_AT_ONCE = 1000
"""Lines that are written at once."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}
"""Names of the types of files, by the format bits of their mode (inode(7))."""


Identity = tuple[int, int, int, int]
"""Device, inode, size and time of a file."""


class Entry(NamedTuple):
    """One line of the list.

    ``content`` is the SHA-256 of a file, the target of a link, the numbers of a device; or ``=N`` for another name of
    the file in line N, counted from 0 after the format. ``time`` is in nanoseconds since 1970; 0 if it does not count.
    ``attributes`` are extended attributes, in hexadecimal.
    """

    depth: int
    name: str
    type: str
    mode: int
    owner: int
    group: int
    size: int
    time: int
    content: str
    attributes: dict[str, str]

    @property
    def is_again(self) -> bool:
        """True for another name of a file in an earlier line."""
        return self.type == "file" and self.content.startswith("=")


@dataclass(frozen=True)
class Ids:
    """The ids that a user namespace has on disk. The default is the host's ids.

    ``first`` is its user id 0, and ``first_group`` its group id 0.
    """

    first: int = 0
    count: int = 1 << 32
    first_group: int = 0

    def user(self, number: int) -> int:
        """Return a user id on disk as the namespace shows it: 65534 for one that it does not have."""
        return self._inside(number, self.first)

    def group(self, number: int) -> int:
        """Return a group id on disk as the namespace shows it: 65534 for one that it does not have."""
        return self._inside(number, self.first_group)

    def _inside(self, number: int, first: int) -> int:
        return number - first if first <= number < first + self.count else 65534


NO_NAMESPACE = Ids()

ANY_OWNER = Ids(0, 0)
"""Owners do not count: an artifact belongs to the user who started the build."""


class Reader:
    """Reads trees as entries. ``times`` says if the times of files count; ``ids`` are those of the builds.

    Owners of binary packages do not count: artifacts and the cache share these files.

    ``unreadable`` gets the error of a file that cannot be read and returns what stands for its content. ``digest``
    replaces the function that reads a file. ``digested`` has the digests of files that need not be read.
    """

    def __init__(
        self,
        ids: Ids,
        unreadable: Callable[[OSError], str],
        *,
        times: bool,
        digest: FileDigest | None = None,
        digested: Mapping[Identity, str] | None = None,
    ) -> None:
        self._given = self._ids = ids
        self._digest_of = digest
        self._digested = digested or {}
        self._unreadable = unreadable
        self._times = times
        self._seen: dict[tuple[int, int], int] = {}
        self._count = 0
        self._path: list[str] = []
        self.size = 0
        """Number of bytes that were read."""

    def entries(self, tree: Path) -> Iterator[Entry]:
        """Yield the entries of a tree. Raises OSError, with the path, for a folder that cannot be read."""
        self._path = [str(tree.parent)]
        self._ids = ANY_OWNER if tree.name == PACKAGES else self._given
        try:
            for step in walk_tree(tree):
                if step.left:
                    self._path.pop()
                    continue
                yield from self._step(step)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "/".join([*self._path, str(error.filename or "")])) from error

    def _step(self, step: Step) -> Iterator[Entry]:
        depth = len(self._path) - 1
        self._path.append(step.name)
        info = os.fstat(step.folder)
        yield self._entry(depth, step.name, info, "", _attributes(step.folder, self._ids))
        for file in step.files:
            inner = file.stat(follow_symlinks=False)
            content, attributes = self._content(step.folder, file.name, inner)
            yield self._entry(depth + 1, file.name, inner, content, attributes)

    def _entry(self, depth: int, name: str, info: os.stat_result, content: str, attributes: dict[str, str]) -> Entry:
        self._count += 1
        return Entry(
            depth,
            name,
            TYPES[stat.S_IFMT(info.st_mode)],
            stat.S_IMODE(info.st_mode),
            self._ids.user(info.st_uid),
            self._ids.group(info.st_gid),
            info.st_size if stat.S_ISREG(info.st_mode) else 0,
            info.st_mtime_ns if self._times else 0,
            content,
            attributes,
        )

    def _content(self, folder: int, name: str, info: os.stat_result) -> tuple[str, dict[str, str]]:
        if stat.S_ISREG(info.st_mode):
            return self._file(folder, name, info)
        attributes = _attributes(f"/proc/self/fd/{folder}/{name}", self._ids)
        if stat.S_ISLNK(info.st_mode):
            return os.readlink(name, dir_fd=folder), attributes
        if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            return f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}", attributes
        return "", attributes

    def _file(self, folder: int, name: str, info: os.stat_result) -> tuple[str, dict[str, str]]:
        if info.st_nlink > 1:
            first = self._seen.setdefault((info.st_dev, info.st_ino), self._count)
            if first != self._count:
                return f"={first}", {}
        if known := self._digested.get(_identity(info)):
            return known, _attributes(f"/proc/self/fd/{folder}/{name}", self._ids)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                return self._digest(descriptor), _attributes(descriptor, self._ids)
            finally:
                os.close(descriptor)
        except OSError as error:
            path = "/".join([*self._path, name])
            return self._unreadable(OSError(error.errno, error.strerror, path)), {}

    def _digest(self, descriptor: int) -> str:
        if self._digest_of:  # by the descriptor, because a path can be too long
            return self._digest_of(Path(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor))
        total = hashlib.sha256()
        while data := os.read(descriptor, _CHUNK):
            total.update(data)
            self.size += len(data)
        return total.hexdigest()


def _attributes(place: int | str, ids: Ids) -> dict[str, str]:
    """Return the extended attributes of an open file, or of a path whose last part is not followed.

    Capabilities of files are as the user namespace shows them: without the id of its root.
    """
    found = attributes(place)
    if CAPABILITIES in found:
        found[CAPABILITIES] = capability_of(found[CAPABILITIES], ids.first)
    return {name: value.hex() for name, value in found.items()}


def fail(error: OSError) -> str:
    """Raise the error of a file that cannot be read."""
    raise error


@dataclass(frozen=True)
class KnownDigest:
    """A file that the caller has digested. It is not read again as long as its size and time are the same."""

    identity: Identity
    sha256: str

    @classmethod
    def of(cls, path: Path, sha256: str) -> KnownDigest:
        """Return the record of a file that is complete. ``sha256`` is the digest of its content, in hexadecimal."""
        return cls(_identity(path.stat()), sha256)

    @classmethod
    def with_time(cls, info: os.stat_result, time: int, sha256: str) -> KnownDigest:
        """Return the record of a complete file that got a new time (nanoseconds since 1970) after ``info``."""
        return cls((info.st_dev, info.st_ino, info.st_size, time), sha256)


def _identity(info: os.stat_result) -> Identity:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def write_content(
    trees: Iterable[Path],
    target: Path,
    *,
    times: bool,
    ids: Ids = NO_NAMESPACE,
    digested: Iterable[KnownDigest] = (),
) -> str:
    """Write the list of some trees. Return its digest, as ``sha256:HEX``. Raises OSError, with the path.

    ``digested`` are files that need not be read.
    """
    reader = Reader(ids, fail, times=times, digested={file.identity: file.sha256 for file in digested})
    total = hashlib.sha256()
    with target.open("xb") as stream:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
            lines = _lines(reader, trees)
            while some := b"".join(itertools.islice(lines, _AT_ONCE)):
                total.update(some)
                packed.write(some)
        stream.flush()
        os.fsync(stream.fileno())
    return f"sha256:{total.hexdigest()}"


def _lines(reader: Reader, trees: Iterable[Path]) -> Iterator[bytes]:
    yield f'["{FORMAT}"]\n'.encode()
    for tree in trees:
        for entry in reader.entries(tree):
            yield _encode(entry).encode() + b"\n"


class ListDamagedError(ValueError):
    """A list that is not what was written. The message is the reason."""


def read_content(path: Path, digest: str | None = None) -> Iterator[Entry]:
    """Yield the entries of a list, after a check of its digest, if one is given.

    Raises ListDamagedError, or OSError.
    """
    if digest:
        with _unpacked(path) as stream:
            found = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        if digest != found:
            raise ListDamagedError(f"expected {digest}, found {found}")
    with _unpacked(path) as stream:
        if _line(stream.readline()) != [FORMAT]:
            raise ListDamagedError("unknown format")
        for line in stream:
            yield Entry(*_line(line))


def _line(text: bytes) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ListDamagedError(f"not what was written ({error})") from error
    if not isinstance(found, list) or len(found) not in (1, len(Entry._fields)):
        raise ListDamagedError("not what was written (a line that is not an entry)")
    return found


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[gzip.GzipFile]:
    try:
        with gzip.open(path) as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ListDamagedError(f"not what was written ({error})") from error


@dataclass(frozen=True)
class Damage:
    """One difference between a result and its list. ``path`` is relative to the folder of the result."""

    path: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.what}: expected {self.expected}, found {self.found}"


_LONGEST = 4096
"""Longest path in a report (characters); the start of a longer one is left out."""

_ROOT = -1


class _Names:
    """Numbers for paths: a path is a name in a folder, which has a number. Two trees share the numbers."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}
        self._names: list[tuple[int, str]] = []

    def numbered(self, entries: Iterable[Entry]) -> Iterator[tuple[int, int, Entry]]:
        """Yield each entry with the numbers of its path and of its folder, and with links to numbers of paths."""
        above, lines = [_ROOT], list[int]()
        for entry in entries:
            del above[entry.depth + 1 :]
            folder = above[entry.depth]
            number = self._number(folder, entry.name)
            lines.append(number)
            if entry.type == "folder":
                above.append(number)
            if entry.is_again:
                entry = entry._replace(content=f"={lines[int(entry.content[1:])]}")  # noqa: PLW2901
            yield number, folder, entry

    def _number(self, folder: int, name: str) -> int:
        number = self._numbers.setdefault((folder, name), len(self._names))
        if number == len(self._names):
            self._names.append((folder, name))
        return number

    def path(self, number: int) -> str:
        """Return the path with a number."""
        parts, length = list[str](), 0
        while number != _ROOT and length < _LONGEST:
            number, name = self._names[number]
            parts.append(name)
            length += len(name) + 1
        return "/".join(["..."] * (number != _ROOT) + parts[::-1])


def compare(expected: Iterable[Entry], found: Iterable[Entry]) -> Iterator[Damage]:
    """Yield the differences of a tree from its list. Of a folder that is missing or new, its content is left out."""
    names = _Names()
    known = {number: (folder, entry) for number, folder, entry in names.numbered(expected)}
    present = set()
    added = set()
    for number, folder, entry in names.numbered(found):
        present.add(number)
        if number in known:
            yield from _changes(names, number, known[number][1], entry)
        else:
            added.add(number)
            if folder not in added:
                yield Damage(names.path(number), "added", "nothing", f"a {entry.type}")
    for number, (folder, entry) in known.items():
        if number not in present and (folder in present or folder == _ROOT):
            yield Damage(names.path(number), "missing", f"a {entry.type}", "nothing")


def _changes(names: _Names, number: int, old: Entry, new: Entry) -> Iterator[Damage]:
    path = names.path(number) if old != new else ""
    if old.type != new.type:
        yield Damage(path, "type", old.type, new.type)
        return
    for what in ("mode", "owner", "group", "size", "content", "time"):
        before, after = getattr(old, what), getattr(new, what)
        if before != after:
            yield Damage(path, what, _shown(names, what, before), _shown(names, what, after))
    for name in sorted(old.attributes.keys() | new.attributes.keys()):
        values = [entry.attributes.get(name) for entry in (old, new)]
        if values[0] != values[1]:
            shown = ["nothing" if value is None else f"0x{value[:64]}" for value in values]
            yield Damage(path, f"attribute {name}", *shown)


def _shown(names: _Names, what: str, value: int | str) -> str:
    if what == "mode":
        return f"{value:04o}"
    if what == "time":
        return f"{int(value) // 1_000_000_000}.{int(value) % 1_000_000_000:09} seconds"
    if what == "content" and str(value).startswith("="):
        with contextlib.suppress(ValueError):
            return f"the same file as {names.path(int(str(value)[1:]))}"
    return str(value)
