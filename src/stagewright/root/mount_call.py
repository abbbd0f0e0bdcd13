"""Overlay mounts by the system calls of fsopen(2): each layer is a separate option, so their length has no limit.

The options of mount(2) must fit into one page, which 48 layers fill. ``lowerdir+`` needs Linux 6.5; overlayfs then
takes 500 layers. Python and util-linux before 2.39 do not have these calls.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

MOST_LAYERS = 500
"""Number of layers below the writable one that overlayfs takes (OVL_MAX_STACK of the kernel)."""

_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432  # the same numbers on all architectures but Alpha
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOSE_ON_EXEC = 1
_READ_ONLY = 1
_EMPTY_PATH = 4  # of move_mount(2): the mount is the descriptor
_HERE = -100
_LONGEST = 255
"""Bytes of the longest value that fsconfig(2) takes."""

_library = ctypes.CDLL(None, use_errno=True)


def mount(folder: Path, lowers: Sequence[str], options: Sequence[str], target: Path, *, read_only: bool) -> bool:
    """Mount an overlay. ``lowers`` (topmost first) and paths in ``options`` are relative to ``folder``.

    Returns False if this kernel or this system cannot do it in this way. Raises OSError, with the kernel's message.
    """
    values = [*lowers, *(option.partition("=")[2] for option in options)]
    if any(len(os.fsencode(value)) > _LONGEST for value in values):
        return False
    before = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        return _mount(lowers, options, target, read_only=read_only)
    finally:
        os.fchdir(before)
        os.close(before)


def _mount(lowers: Sequence[str], options: Sequence[str], target: Path, *, read_only: bool) -> bool:
    try:
        system = _call(_FSOPEN, b"overlay", _CLOSE_ON_EXEC)
    except OSError:  # ENOSYS, or a filter of system calls
        return False
    try:
        try:
            for lower in lowers:
                _set(system, "lowerdir+", lower)
        except OSError:  # before Linux 6.5
            return False
        for option in options:
            name, has_value, value = option.partition("=")
            _set(system, name, value if has_value else None)
        try:
            _call(_FSCONFIG, system, _CREATE, None, None, 0)
        except OSError as error:
            raise OSError(error.errno, f"overlayfs: {_message(system) or error.strerror}") from error
        mounted = _call(_FSMOUNT, system, _CLOSE_ON_EXEC, _READ_ONLY if read_only else 0)
    finally:
        os.close(system)
    try:
        _call(_MOVE_MOUNT, mounted, b"", _HERE, os.fsencode(target), _EMPTY_PATH)
    finally:
        os.close(mounted)
    return True


def _set(system: int, name: str, value: str | None) -> None:
    if value is None:
        _call(_FSCONFIG, system, _SET_FLAG, name.encode(), None, 0)
    else:
        _call(_FSCONFIG, system, _SET_STRING, name.encode(), os.fsencode(value), 0)


def _message(system: int) -> str:
    """Return the last message of the kernel about a file system that cannot be mounted, or an empty string."""
    found = ""
    try:
        while line := os.read(system, 4096):
            found = line.decode(errors="replace").strip().partition(" ")[2]
    except OSError:  # ENODATA: there are no more
        pass
    return found


def _call(number: int, *arguments: object) -> int:
    """Make a system call. Raises OSError."""
    result: int = _library.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
