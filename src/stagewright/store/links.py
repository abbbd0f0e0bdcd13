"""Files of the store in other folders: hard links if the file system permits them, else whole copies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from stagewright.trees import remove_tree


def link(source: Path, target: Path) -> bool:
    """Make ``target`` the same file as ``source``. It replaces an existing file, link or folder.

    A process that reads ``target`` meanwhile sees the old or the new file. Returns False if nothing was to do.
    """
    if target.exists() and not target.is_symlink() and target.samefile(source):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(8)}")
    try:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or too many links
            shutil.copy2(source, temporary)
        if target.is_dir() and not target.is_symlink():
            remove_tree(target)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock of a file for the length of a block, and yield the descriptor that holds it. The file stays.

    Other writers wait. Commands that inherit the descriptor hold the lock until they end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()
