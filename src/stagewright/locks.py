"""Files that flock(2) locks. The kernel releases a lock when the process that holds it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Try to lock a file for the block, without waiting. Yield True if this process has the lock."""
    while True:
        with path.open("w", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if _is_at(stream.fileno(), path):  # else it was removed between open and flock
                yield True
                return


def remove_lock(path: Path) -> None:
    """Remove the file of a lock, unless a process holds it."""
    with locked(path) as mine:
        if mine:
            path.unlink(missing_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return True if an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
