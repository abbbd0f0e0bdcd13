"""The place of a store: the folder that is used if none is named, and its free space."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.permissions import nearest_visible, other_owner

FULL = 8 << 20
"""Free space in bytes below which a file system counts as full when a build fails."""


def is_full(path: Path) -> bool:
    """Return True if the file system of a folder is full."""
    return shutil.disk_usage(path).free < FULL


def disk_full(message: str, detail: str = "") -> StagewrightError:
    """Return the error for a build that found no free space."""
    hint = "stagewright gc removes results that no project needs"
    return StagewrightError(Reason.DISK_FULL, message, detail=detail, hint=hint)


def cannot_open(error: OSError, store: Path) -> StagewrightError | None:
    """Return the error for a store whose disk is full, or whose path cannot be a folder; None for others."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message, hint = f"the disk of the store {store} is full", "free space there, or use --store FOLDER"
        return StagewrightError(Reason.DISK_FULL, message, hint=hint)
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        found = next((one for one in (store, *store.parents) if one.exists() and not one.is_dir()), store)
        message = f"the store {store} is not a folder (found a file at {found})"
        return StagewrightError(Reason.STORE_FAILED, message, hint="use --store FOLDER")
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG):
        message = f"the store {store} cannot be created ({os.strerror(error.errno)})"
        return StagewrightError(Reason.STORE_FAILED, message, hint="use --store FOLDER")
    return None


def refused(error: OSError, store: Path, action: str) -> StagewrightError:
    """Return the error for a store that the system does not let this user use. ``action`` is ``read`` or ``write to``.

    The store can be missing; then the owner of the folder around it can make it.
    """
    owner = other_owner(nearest_visible(store)) if error.errno != errno.EROFS else ""
    hint = f"run as {owner}, or use --store FOLDER" if owner else "use --store FOLDER"
    what = f"cannot {action} the store {store} ({os.strerror(error.errno or 0)})"
    return StagewrightError(Reason.NOT_ROOT, what, hint=hint)


def default_store() -> Path:
    """Return the folder of the store: ``STAGEWRIGHT_STORE``, or the cache of the system (root) or the user (others)."""
    if named := os.environ.get("STAGEWRIGHT_STORE"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/cache/stagewright")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stagewright"
