"""Digests of files and folders.

The digest of a folder is that of a list with one line for each entry, sorted by path: path, kind, permission bits, and
the digest of the content or the target of the link. Owners and times are not part of it, because files of a project get
the owner root and the time stamp of the build in a root.

Ebuild repositories are only read. The permission bits of group and others, which the umask decides on, are not part of
their digest. Folders whose files are copied into roots are digested with all bits.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from stagewright.errors import Reason, StagewrightError

FileDigest = Callable[[Path, os.stat_result], str]
"""Function that returns the digest of a regular file. The store has one with a cache (``store.digest_cache``)."""

IGNORED = frozenset({".git"})
"""Names that are not part of digests and are not copied into roots: the history of a repository is not content."""


def file_digest(path: Path, info: os.stat_result | None = None) -> str:
    """Return the SHA-256 of the content of a file, in hexadecimal."""
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """Return the digest of the content of a file, in hexadecimal. ``algorithm`` is a name of hashlib."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


ALL_BITS = 0o7777
"""The permission bits of chmod(2)."""

REPOSITORY_BITS = 0o7700
"""The permission bits of a file of an ebuild repository that are part of the repository's digest."""


class TreeMemory(Protocol):
    """Memory of the folders of a tree: the signature and the lines of each, by its path in the tree.

    A signature is a digest of names, modes, sizes, inodes and times. A folder with the signature of the last time has
    the lines of the last time, so its files are not read.
    """

    def is_same(self, folder: str, signature: bytes) -> bool:
        """Return True for the signature of the last time."""

    def lines(self, folder: str) -> bytes:
        """Return the lines of a folder that is the same."""

    def whole(self, folders: int) -> str | None:
        """Return the digest of the tree, if so many folders are all that it had."""

    def keep(self, folder: str, signature: bytes, lines: bytes, *, newest: int) -> None:
        """Remember the lines of a folder. ``newest`` is the newest time of its files, in nanoseconds."""

    def keep_whole(self, digest: str) -> None:
        """Remember the digest of the tree."""


class NoMemory:
    """The memory that remembers nothing."""

    def is_same(self, folder: str, signature: bytes) -> bool:
        """Return False."""
        return False

    def lines(self, folder: str) -> bytes:
        """Raise KeyError: no folder is the same."""
        raise KeyError(folder)

    def whole(self, folders: int) -> str | None:
        """Return None."""
        return None

    def keep(self, folder: str, signature: bytes, lines: bytes, *, newest: int) -> None:
        """Do nothing."""

    def keep_whole(self, digest: str) -> None:
        """Do nothing."""


def tree_digest(
    path: Path,
    digest: FileDigest = file_digest,
    bits: int = ALL_BITS,
    memory: TreeMemory | None = None,
    report: Callable[[int], object] = lambda _: None,
) -> str:
    """Return the digest of a file or a folder. Raises: INVALID_VALUE for sockets, devices and pipes.

    ``digest`` reads large files. ``report`` is called with the number of files in each folder that is read. ``bits``
    are the permission bits that count.
    """
    info = path.stat()
    if not stat.S_ISDIR(info.st_mode):
        if not stat.S_ISREG(info.st_mode):
            raise strange(path)
        return hashlib.sha256(f"file {info.st_mode & bits:o} {digest(path, info)}".encode()).hexdigest()
    memory = memory or NoMemory()
    same = list[str]()  # the first folders of the tree, as long as they are the same
    total = None
    for lines in _lines_of_folders(os.fspath(path), memory, _Reading(digest, bits, report)):
        if total is None and isinstance(lines, str):
            same.append(lines)
            continue
        total = total or _digest_of_lines(memory, same)
        total.update(memory.lines(lines) if isinstance(lines, str) else lines)
    found = memory.whole(len(same)) if total is None else None
    if found is None:
        found = (total or _digest_of_lines(memory, same)).hexdigest()
        memory.keep_whole(found)
    return found


def _digest_of_lines(memory: TreeMemory, folders: Sequence[str]) -> hashlib._Hash:
    return hashlib.sha256(b"".join(map(memory.lines, folders)))


def _lines_of_folders(path: str, memory: TreeMemory, reading: _Reading) -> Iterator[str | bytes]:
    """Yield the lines of each folder of a tree, in their order, or the name of a folder that memory has.

    ``reading`` reads the others.
    """
    coming: deque[str | _Changed] = deque()
    waiting = [(path, "")]
    with ThreadPoolExecutor(_READERS) as readers:
        while waiting or coming:
            if waiting:
                folder, prefix = waiting.pop()
                entries, folders = _look(folder)
                signature = hashlib.blake2b(marshal.dumps(entries, 2), digest_size=16).digest()  # 2: equal for equals
                same = memory.is_same(prefix, signature)
                if folders:
                    waiting.extend([(f"{folder}/{name}", f"{prefix}{name}/") for name in folders])
                if same and not coming:
                    yield prefix
                    continue
                coming.append(prefix if same else reading.add(_Changed(folder, prefix, entries, signature), readers))
            while len(coming) > (_AHEAD if waiting else 0):
                first = coming.popleft()
                yield reading.result(first, readers, memory) if isinstance(first, _Changed) else first


_READERS = 4
"""Threads that read files from a disk that lets its reader wait."""

_BATCH = 64
"""Folders that are read at once."""

_PROBE = 8
"""Of so many batches, one is read without a thread, to see if the disk still lets its reader wait."""

_AHEAD = 512
"""Folders that are looked at while others are read."""

_SMALL = 1 << 20
"""Bytes of the largest file that is read at once, without asking what is remembered about it."""

_Entry = tuple[str, int] | tuple[str, int, int, int, int, int]
"""Name, mode, size, inode and two times in nanoseconds. Of a folder only name and mode: it is looked into anyway."""


def _look(path: str) -> tuple[list[_Entry], list[str]]:
    """Return the entries of a folder, sorted by name, and the names of its folders, the last one first.

    Plain tuples, and no call but stat(2): a plan looks at all folders of a tree, and there can be tens of thousands.
    """
    found: list[_Entry] = []
    folders = []
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the kernel resolves the path once
    try:
        names = os.listdir(descriptor)  # noqa: PTH208  by the descriptor
        names.sort()
        for name in names:
            if name in IGNORED:
                continue
            info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            mode = info.st_mode
            if mode & _TYPE == stat.S_IFDIR:
                found.append((name, mode))
                folders.append(name)
            else:
                found.append((name, mode, info.st_size, info.st_ino, info.st_mtime_ns, info.st_ctime_ns))
    finally:
        os.close(descriptor)
    folders.reverse()
    return found, folders


@dataclass(slots=True)
class _Changed:
    """A folder whose files are read. ``prefix`` is its path in the tree, with a slash at the end."""

    path: str
    prefix: str
    entries: list[_Entry]
    signature: bytes
    lines: bytes = b""
    done: Future[None] | None = None

    @property
    def newest(self) -> int:
        """The newest time of its files, in nanoseconds."""
        return max((max(entry[4:]) for entry in self.entries if len(entry) > 2), default=0)


@dataclass
class _Reading:
    """Reads folders, some at once.

    Threads take each other's time: with files that the kernel has in memory, four of them need half as much again as
    one. So they are used while reading is mostly waiting.
    """

    digest: FileDigest
    bits: int
    report: Callable[[int], object]
    batch: list[_Changed] = field(default_factory=list)
    batches: int = 0
    waits: bool = False

    def add(self, folder: _Changed, readers: ThreadPoolExecutor) -> _Changed:
        """Read a folder, sooner or later, and return it."""
        self.batch.append(folder)
        if len(self.batch) == _BATCH:
            self._start(readers)
        return folder

    def _start(self, readers: ThreadPoolExecutor) -> None:
        work = partial(_read, tuple(self.batch), self.digest, self.bits)
        if self.waits and self.batches % _PROBE:
            done = readers.submit(work)
        else:
            done, started, worked = Future(), time.perf_counter(), time.thread_time()
            done.set_result(work())
            self.waits = time.perf_counter() - started > 2 * (time.thread_time() - worked)
        for folder in self.batch:
            folder.done = done
        self.batches += 1
        self.batch.clear()

    def result(self, folder: _Changed, readers: ThreadPoolExecutor, memory: TreeMemory) -> bytes:
        """Return the lines of the list for the entries of a folder, and remember them."""
        if folder.done is None:
            self._start(readers)
        assert folder.done
        folder.done.result()
        memory.keep(folder.prefix, folder.signature, folder.lines, newest=folder.newest)
        self.report(len(folder.entries))
        return folder.lines


def _read(folders: Sequence[_Changed], digest: FileDigest, bits: int) -> None:
    for folder in folders:
        found = []
        for name, mode, *facts in folder.entries:
            path = f"{folder.path}/{name}"
            if stat.S_ISREG(mode):
                content = _small_digest(path, facts[0]) if facts[0] <= _SMALL else digest(Path(path), os.lstat(path))
                line = f"file {mode & bits:o} {content}"
            elif stat.S_ISLNK(mode):
                line = f"link {os.readlink(path)}"  # noqa: PTH115  pathlib would normalise the target
            elif stat.S_ISDIR(mode):
                line = f"dir {mode & bits:o}"
            else:
                raise strange(Path(path))
            found.append(f"{folder.prefix}{name}\0{line}\n")
        folder.lines = "".join(found).encode(errors="surrogateescape")


_TYPE = 0o170000
"""The bits of a mode that are the type of a file (inode(7))."""


def _small_digest(path: str, size: int) -> str:
    """Return the digest of a file that had this size when it was looked at."""
    descriptor = open_untouched(path)
    try:
        data = os.read(descriptor, size + 1)
        total = hashlib.sha256(data)
        if len(data) != size:  # it has changed, or the file system gives less at once
            while data := os.read(descriptor, _SMALL):
                total.update(data)
        return total.hexdigest()
    finally:
        os.close(descriptor)


def open_untouched(path: str, folder: int | None = None, flags: int = 0) -> int:
    """Open a file to read it, without a change of its access time: that is a write for each file that is read first.

    Only the owner of a file may do that (open(2), O_NOATIME). A relative path is below the open ``folder``.
    """
    flags |= os.O_RDONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME, dir_fd=folder)
    except PermissionError:
        return os.open(path, flags, dir_fd=folder)


def strange(path: Path) -> StagewrightError:
    """Return the error for a socket, a device or a pipe."""
    return StagewrightError(
        Reason.INVALID_VALUE, f"{path}: not a file, folder or link", hint="remove it from the project"
    )


def walk(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield every entry below a folder with its relative path, parents first, sorted by name."""
    waiting = [(os.fspath(folder), "")]
    while waiting:
        path, prefix = waiting.pop()
        with os.scandir(path) as entries:
            names = sorted((entry for entry in entries if entry.name not in IGNORED), key=lambda entry: entry.name)
        folders = []
        for entry in names:
            yield entry, prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, f"{prefix}{entry.name}/"))
        waiting.extend(reversed(folders))
