"""Digests of files and folders.

A folder's digest is that of a list with one line per entry, sorted by path: path, kind, permission bits, and the digest
of the content or the target of the link. Owners and times do not count, since everything a project brings into a root
is owned by root there and gets the build's time stamp.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from stagewright.errors import Reason, StagewrightError

FileDigest = Callable[[Path, os.stat_result], str]
"""Digest of one regular file; the store has one that remembers what it saw (see ``store.digests``)."""

IGNORED = frozenset({".git"})
"""Names that never count and are never copied into a root: a repository's own history is no content."""


def file_digest(path: Path, info: os.stat_result | None = None) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """The digest of a file's content, in hexadecimal, by hashlib's name of the algorithm."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def tree_digest(path: Path, digest: FileDigest = file_digest) -> str:
    """The digest of a file or a folder. Raises :class:`StagewrightError` for sockets, devices and pipes."""
    info = path.stat()
    if not stat.S_ISDIR(info.st_mode):
        if not stat.S_ISREG(info.st_mode):
            raise _strange(path)
        return hashlib.sha256(f"file {stat.S_IMODE(info.st_mode):o} {digest(path, info)}".encode()).hexdigest()
    total = hashlib.sha256()
    for entry, relative in walk(path):
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            line = f"link {os.readlink(entry.path)}"  # noqa: PTH115  pathlib would normalise the target
        elif stat.S_ISDIR(info.st_mode):
            line = f"dir {stat.S_IMODE(info.st_mode):o}"
        elif stat.S_ISREG(info.st_mode):
            line = f"file {stat.S_IMODE(info.st_mode):o} {digest(Path(entry.path), info)}"
        else:
            raise _strange(Path(entry.path))
        total.update(f"{relative}\0{line}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _strange(path: Path) -> StagewrightError:
    return StagewrightError(
        Reason.INVALID_VALUE, f"{path} is no file, folder or link", hint="remove it from the project"
    )


def walk(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Every entry below a folder with its relative path, parents first, in the order of their names."""
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
