"""The place of a store: the folder that is used if none is named, and its free space."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FULL = 8 << 20
"""Free space in bytes below which a file system counts as full when a build fails."""


def is_full(path: Path) -> bool:
    """Return True if the file system of a folder is full."""
    return shutil.disk_usage(path).free < FULL


def default_store() -> Path:
    """Return the folder of the store: ``STAGEWRIGHT_STORE``, or the cache of the system (root) or the user (others)."""
    if named := os.environ.get("STAGEWRIGHT_STORE"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/cache/stagewright")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stagewright"
