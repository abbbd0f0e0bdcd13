"""Temporary folders, also of processes that were killed.

A process that is killed by SIGKILL leaves its temporary folder. The next process of the same user that makes one with
the same name in the same parent removes it: the folder of a running process has a lock (flock(2)). Workers make
temporary files in their work folder, which the store removes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stagewright.locks import locked
from stagewright.trees import remove_tree

PREFIX = "stagewright-"
"""Start of the names of temporary folders."""

LOCK = ".lock"
"""Name of the file in the folder whose lock the process holds."""

NEW = 60.0
"""Seconds for which a folder is new: its process may not have locked it yet."""


@contextlib.contextmanager
def temporary_folder(name: str, parent: Path | None = None, *, hidden: bool = False) -> Iterator[Path]:
    """Yield a new folder for a purpose, and remove it at the end. First remove the folders of killed processes.

    The default for ``parent`` is the work folder of a worker, and the system's temporary folder elsewhere.
    """
    parent = parent or Path(tempfile.gettempdir())
    prefix = f"{'.' if hidden else ''}{PREFIX}{name}-"
    _sweep(parent, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with locked(folder / LOCK):
            yield folder
    finally:
        remove_tree(folder)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove temporary folders of this user that no process has locked. New ones, perhaps not locked yet, stay."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            info = folder.lstat()
            old = time.time() - info.st_mtime > NEW
            if info.st_uid == os.geteuid() and stat.S_ISDIR(info.st_mode) and old:
                with locked(folder / LOCK) as mine:
                    if mine:
                        remove_tree(folder)
