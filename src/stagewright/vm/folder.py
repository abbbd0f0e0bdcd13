"""The folder of a machine: one that is kept and locked, or a temporary one."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.locks import locked
from stagewright.temporary import LOCK, temporary_folder


@contextlib.contextmanager
def machine_folder() -> Iterator[Path]:
    """Yield a temporary folder for a machine, in /var/tmp: its files can exceed a /tmp in memory."""
    with temporary_folder("boot", Path("/var/tmp")) as folder:
        yield folder


@contextlib.contextmanager
def kept_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for one machine.

    Raises: STORE_BUSY if another process uses it, NOT_ROOT if it cannot be written, DISK_FULL.
    """
    try:
        _make(folder)
        with locked(folder / LOCK) as mine:
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
