"""Digests of files and folders.

The digest of a folder is that of a list with one line for each entry, sorted by path: path, kind, permission bits, and
the digest of the content or the target of the link. Owners and times are not part of it, because files of a project get
the owner root and the time stamp of the build in a root.

Ebuild repositories are only read. The permission bits of group and others, which the umask decides on, are not part of
their digest. Folders whose files are copied into roots are digested with all bits.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

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


def tree_digest(path: Path, digest: FileDigest = file_digest, bits: int = ALL_BITS) -> str:
    """Return the digest of a file or a folder, with these permission bits.

    Raises: INVALID_VALUE for sockets, devices and pipes.
    """
    info = path.stat()
    if not stat.S_ISDIR(info.st_mode):
        if not stat.S_ISREG(info.st_mode):
            raise _strange(path)
        return hashlib.sha256(f"file {info.st_mode & bits:o} {digest(path, info)}".encode()).hexdigest()
    total = hashlib.sha256()
    for entry, relative in walk(path):
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            line = f"link {os.readlink(entry.path)}"  # noqa: PTH115  pathlib would normalise the target
        elif stat.S_ISDIR(info.st_mode):
            line = f"dir {info.st_mode & bits:o}"
        elif stat.S_ISREG(info.st_mode):
            line = f"file {info.st_mode & bits:o} {digest(Path(entry.path), info)}"
        else:
            raise _strange(Path(entry.path))
        total.update(f"{relative}\0{line}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


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
