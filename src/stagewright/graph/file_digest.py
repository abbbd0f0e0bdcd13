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
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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

    def known(self, folder: str, signature: bytes) -> bytes | None:
        """Return the lines of a folder, or None if the signature is another one."""

    def keep(self, folder: str, signature: bytes, lines: bytes, *, newest: int) -> None:
        """Remember the lines of a folder. ``newest`` is the newest time of its files, in nanoseconds."""


class NoMemory:
    """The memory that remembers nothing."""

    def known(self, folder: str, signature: bytes) -> bytes | None:
        """Return None."""
        return None

    def keep(self, folder: str, signature: bytes, lines: bytes, *, newest: int) -> None:
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
            raise _strange(path)
        return hashlib.sha256(f"file {info.st_mode & bits:o} {digest(path, info)}".encode()).hexdigest()
    total, memory = hashlib.sha256(), memory or NoMemory()
    coming: deque[tuple[_Folder, bytes | Future[bytes]]] = deque()

    def add(most: int) -> None:
        while len(coming) > most:
            folder, lines = coming.popleft()
            if isinstance(lines, Future):
                lines = lines.result()
                memory.keep(folder.prefix, folder.signature, lines, newest=folder.newest)
                report(len(folder.entries))
            total.update(lines)

    with ThreadPoolExecutor(_READERS) as readers:
        waiting = [(os.fspath(path), "")]
        while waiting:
            folder = _Folder(*waiting.pop())
            lines = memory.known(folder.prefix, folder.signature)
            if lines is None:
                coming.append((folder, readers.submit(folder.lines, digest, bits)))
            else:
                coming.append((folder, lines))
            add(_AHEAD)
            waiting.extend((f"{folder.path}/{name}", f"{folder.prefix}{name}/") for name in reversed(folder.folders))
        add(0)
    return total.hexdigest()


_READERS = 4
"""Threads that read files: reading small files is mostly waiting for the disk."""

_AHEAD = 256
"""Folders that are looked at while others are read."""

_SMALL = 1 << 20
"""Bytes of the largest file that is read at once, without asking what is remembered about it."""


class _Folder:
    """One folder of a tree as it is now. ``prefix`` is its path in the tree, with a slash at the end.

    ``entries`` has name, mode, size, inode and two times in nanoseconds of each entry, sorted by name; of a folder only
    name and mode, because it is looked into anyway. Plain tuples: a tree can have hundreds of thousands.
    """

    def __init__(self, path: str, prefix: str) -> None:
        self.path = path
        self.prefix = prefix
        with os.scandir(path) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries if entry.name not in IGNORED]
        self.entries = [
            (name, info.st_mode, info.st_size, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)
            if info.st_mode & _TYPE != stat.S_IFDIR
            else (name, info.st_mode, 0, 0, 0, 0)
            for name, info in found
        ]
        self.entries.sort()
        self.folders = [entry[0] for entry in self.entries if entry[1] & _TYPE == stat.S_IFDIR]
        text = marshal.dumps(self.entries, 2)  # version 2 gives equal bytes for equal values
        self.signature = hashlib.blake2b(text, digest_size=16).digest()

    @property
    def newest(self) -> int:
        """The newest time of its files, in nanoseconds."""
        return max((max(entry[4:]) for entry in self.entries), default=0)

    def lines(self, digest: FileDigest, bits: int) -> bytes:
        """Return the lines of the list for the entries of this folder."""
        found = []
        for name, mode, size, *_ in self.entries:
            path = f"{self.path}/{name}"
            if stat.S_ISREG(mode):
                content = _small_digest(path) if size <= _SMALL else digest(Path(path), os.lstat(path))
                line = f"file {mode & bits:o} {content}"
            elif stat.S_ISLNK(mode):
                line = f"link {os.readlink(path)}"  # noqa: PTH115  pathlib would normalise the target
            elif stat.S_ISDIR(mode):
                line = f"dir {mode & bits:o}"
            else:
                raise _strange(Path(path))
            found.append(f"{self.prefix}{name}\0{line}\n")
        return "".join(found).encode(errors="surrogateescape")


_TYPE = 0o170000
"""The bits of a mode that are the type of a file (inode(7))."""


def _small_digest(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        total = hashlib.sha256()
        while chunk := os.read(descriptor, _SMALL):
            total.update(chunk)
        return total.hexdigest()
    finally:
        os.close(descriptor)


def _strange(path: Path) -> StagewrightError:
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
