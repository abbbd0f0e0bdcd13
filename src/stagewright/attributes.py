"""Extended attributes that belong to the content of a file.

Other attributes say something about the computer: labels of SELinux, signatures of IMA, what overlayfs notes about the
origin of a file. They differ between computers and between users, so results and keys do not contain them.
"""

from __future__ import annotations

import errno
import os

CAPABILITIES = "security.capability"

_OVERLAY = frozenset(
    f"{space}.overlay.{name}"
    for space in ("trusted", "user")
    for name in ("opaque", "redirect", "metacopy", "whiteout", "xwhiteouts")
)
_NAMES = _OVERLAY | {CAPABILITIES, "system.posix_acl_access", "system.posix_acl_default"}
"""Besides ``user.*``: capabilities(7), acl(5), and what overlayfs reads to show a layer."""

_ABSENT = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENODATA)
"""Errors of a file system without attributes, and of attributes that this process cannot read."""


def is_kept(name: str) -> bool:
    """Return True for the name of an attribute that belongs to the content."""
    return name in _NAMES or (name.startswith("user.") and not name.startswith("user.overlay."))


def attributes(place: int | str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the attributes of an open file, or of a path whose last part is not followed, sorted by name."""
    follow = isinstance(place, int)
    found = {}
    try:
        names = sorted(os.listxattr(place, follow_symlinks=follow))
    except OSError as error:
        if error.errno in _ABSENT:
            return {}
        raise
    for name in names:
        if is_kept(name):
            try:
                found[name] = os.getxattr(place, name, follow_symlinks=follow)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
    return found
