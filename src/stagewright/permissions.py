"""Files that the system does not let this user reach: who owns them, and what a user can do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from stagewright.run import run

REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors by which the system refuses a user, or every user on a read-only file system."""


def remedy(path: Path, error: OSError) -> str:
    """Return the hint for a path that the system refuses: the user who may use it, or what to change."""
    found = nearest_visible(path)
    shown = "this folder" if found == Path() else str(found)
    if error.errno == errno.EROFS:
        return f"the file system of {shown} is read-only: use another folder, or mount it writable"
    if owner := other_owner(found):
        return f"run as {owner}, who owns {shown}, or change its permissions"
    if os.geteuid():
        return f"give yourself the permission: chmod u+rwX {shown}"
    return f"look at the file system of {shown}: it refuses root"


def nearest_visible(path: Path) -> Path:
    """Return a path, or the first folder above it that this user can see."""
    for one in (path, *path.parents):
        if os.path.lexists(one):
            return one
    return Path("/")


def other_owner(path: Path) -> str:
    """Return the name of the user who owns a path, or its number; "" for this user and for a path that is gone."""
    try:
        uid = path.stat().st_uid
    except OSError:
        return ""
    return "" if uid == os.geteuid() else user_name(uid)


def user_name(uid: int) -> str:
    """Return the name of a user, or ``uid 1000`` for one without a name here."""
    name = run(["id", "--user", "--name", str(uid)], check=False).stdout.strip()  # no module pwd, see decision 33
    return name or f"uid {uid}"
