"""The folder of a machine: one that is kept and locked, or a temporary one.

A process that was killed leaves its temporary folder. The next machine of the same user removes it: the folder of a
running process has a lock (flock(2)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.trees import remove_tree

PARENT = Path("/var/tmp")
"""The folder of temporary folders, for files that exceed a /tmp in memory."""

PREFIX = "stagewright-boot-"

LOCK = ".lock"
"""Name of the file in the folder whose lock the process holds."""

NEW = 60.0
"""Seconds for which a folder is new: its process may not have locked it yet."""


@contextlib.contextmanager
def temporary_folder(parent: Path = PARENT) -> Iterator[Path]:
    """Yield a new folder and remove it at the end. First remove the folders of processes that were killed."""
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with _locked(folder):
            yield folder
    finally:
        remove_tree(folder)


@contextlib.contextmanager
def kept_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for one machine.

    Raises: STORE_BUSY if another process uses it, NOT_ROOT if it cannot be written, DISK_FULL.
    """
    try:
        _make(folder)
        with _locked(folder) as mine:
            if not mine:
                what = f"{folder}: another machine uses this folder"
                raise StagewrightError(Reason.STORE_BUSY, what, hint="end that machine, or name another folder")
            yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"{folder}: the file system is full"
        raise StagewrightError(Reason.DISK_FULL, what, hint="free some space, or name another folder") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"{folder}: cannot be written ({error.strerror})"
        raise StagewrightError(Reason.NOT_ROOT, what, hint="name a folder of your own") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Try to lock a folder for the block. Yield True if this process has the lock."""
    with (folder / LOCK).open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _sweep(parent: Path) -> None:
    """Remove temporary folders of this user that no process has locked. New ones, perhaps not locked yet, stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            info = folder.lstat()
            old = time.time() - info.st_mtime > NEW
            if info.st_uid == os.geteuid() and stat.S_ISDIR(info.st_mode) and old:
                with _locked(folder) as mine:
                    if mine:
                        remove_tree(folder)
