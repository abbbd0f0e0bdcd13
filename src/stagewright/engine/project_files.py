"""Files that commands write into a project: errors of its disk, and their owner if sudo(8) started the command."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.permissions import REFUSALS, other_owner

_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """Write ``path`` in a block. ``what`` is its noun in messages.

    Raises: DISK_FULL if its disk is full, USAGE if the file system permits no writing or another file is in the way.
    """
    try:
        yield
    except OSError as error:
        if problem := _problem(error, path, what):
            raise problem from error
        raise


def _problem(error: OSError, path: Path, what: str) -> StagewrightError | None:
    """Return the error for what the kernel reports of a path or of a file in it; None if it is something else."""
    place = Path(os.fsdecode(error.filename2 or error.filename or path))
    disk = next(folder for folder in (path, *path.parents) if folder.is_dir())
    if not place.is_relative_to(path.parent):
        place = path
    if error.errno in _FULL:
        message = f"{what}: the disk of {disk} is full (found no space for {place.name})"
        return StagewrightError(Reason.DISK_FULL, message, hint=f"free space there: df -h {disk} shows how much it has")
    if error.errno in REFUSALS:
        why = "the file system is read-only" if error.errno == errno.EROFS else "no permission"
        message = f"{what}: cannot write to {disk} ({why})"
        owner = other_owner(disk) if error.errno != errno.EROFS else ""
        hint = f"{f'run as {owner}, ' if owner else ''}make {disk} writable, or copy the project"
        return StagewrightError(Reason.USAGE, message, hint=hint)
    if error.errno in _IN_THE_WAY:
        blocking = next((one for one in (place, *place.parents) if one.is_file() or one.is_symlink()), place)
        message = f"{what}: {blocking} is in the way (found a file, where a folder is needed)"
        if blocking.is_symlink():
            message = f"{what}: {blocking} is in the way (found a link to nothing)"
        return StagewrightError(Reason.USAGE, message, hint=f"remove or rename {blocking}")
    return None


def give_to_invoker(path: Path) -> None:
    """Give a new file, or a folder with new files, to the user who started this command by sudo(8).

    Nothing is changed without sudo, and if the folder around it does not belong to this user. Files with several links
    are those of the store, and keep their owner: the user can still remove their names from the folder.
    """
    user, group = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if os.geteuid() or not (user.isascii() and user.isdigit() and group.isascii() and group.isdigit()):
        return
    if int(user) == 0 or path.parent.stat().st_uid != int(user):
        return
    for one in _own_files(path):
        os.chown(one, int(user), int(group), follow_symlinks=False)


def _own_files(path: Path) -> Iterator[Path]:
    info = path.lstat()
    if stat.S_ISDIR(info.st_mode):
        for folder, _, names in os.walk(path):
            yield Path(folder)
            yield from (Path(folder, name) for name in names if os.lstat(Path(folder, name)).st_nlink == 1)
    elif info.st_nlink == 1:
        yield path
