"""Files of the store in other folders: hard links where the file system allows, else copies; never half of one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from stagewright.store.store import remove_tree


def link(source: Path, target: Path) -> bool:
    """Let ``target`` be the same file as ``source``, in place of whatever was there.

    Who looks sees the old or the new one, both whole. Returns whether anything had to be done.
    """
    if target.exists() and not target.is_symlink() and target.samefile(source):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(8)}")
    try:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or as many links as there can be
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
    """Hold the lock of a file, which stays; who else wants to write what it stands for waits.

    Yields the descriptor that holds it: commands that inherit it hold the lock until they end, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()
