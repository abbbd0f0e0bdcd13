"""Reading of numbers and files that others wrote. Nothing here blocks, grows without a limit or raises ValueError."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError

LARGEST = (1 << 63) - 1
"""The largest size of a file on Linux (bytes)."""

TEXT_LIMIT = 64 << 20
"""The largest text file of a root that is read (bytes)."""

_LONGEST_NUMBER = 64
_DIGITS = {8: b"01234567", 10: b"0123456789", 16: b"0123456789abcdefABCDEF"}


def is_utf8(path: Path) -> bool:
    """Return True if the bytes of a path are UTF-8 text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # Python represents other bytes by lone surrogates (PEP 383)
        return False
    return True


def number(text: str | bytes, base: int = 10, limit: int = LARGEST) -> int | None:
    """Return a number of digits 0-9 (0-7 for ``base`` 8, 0-9a-f for 16), or None if it is invalid or above ``limit``.

    Unlike ``int`` it accepts no sign, space, underscore or digit of another script, and at most 64 digits.
    """
    data = text.encode(errors="replace") if isinstance(text, str) else text
    if not 0 < len(data) <= _LONGEST_NUMBER or data.strip(_DIGITS[base]):
        return None
    value = int(data, base)
    return value if value <= limit else None


def is_dir(path: Path | str) -> bool:
    """Return True for a folder. Unlike pathlib it returns False for a name that is too long or in a closed folder."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path | str) -> bool:
    """Return True for a regular file, with False as in :func:`is_dir`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_plain(path: Path | str) -> bool:
    """Return True for a regular file or a symbolic link, which can be copied without an effect on devices and pipes."""
    mode = os.lstat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def real(path: Path) -> Path:
    """Return a path without links; unchanged if it contains a NUL. A loop of links ends there."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        return path


def open_regular(path: Path | str, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file. Raises OSError if it is missing, or if it is something else, such as a pipe or a device.

    Opening never blocks, and it has no effect on a device. With ``follow=False`` a symbolic link as the last part of
    the path is an error.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    before = Path(path).stat(follow_symlinks=follow).st_mode
    if not stat.S_ISLNK(before):
        _check(before, str(path))
    descriptor = os.open(path, flags)
    try:
        regular(descriptor, str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def regular(descriptor: int, name: str) -> None:
    """Raise OSError if an open file is not a regular file. ``name`` is its name in the error."""
    _check(os.fstat(descriptor).st_mode, name)


def _check(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", name)


def read_regular(path: Path | str, limit: int = TEXT_LIMIT) -> bytes:
    """Return the content of a regular file. Raises OSError as :func:`open_regular`, and EFBIG above ``limit`` bytes."""
    with open_regular(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def read_text(path: Path | str, *, errors: str = "strict", limit: int = TEXT_LIMIT) -> str:
    """Return the UTF-8 text of a regular file, with the errors of :func:`read_regular`."""
    return read_regular(path, limit).decode(errors=errors)


def read_root_text(path: Path | str, *, errors: str = "strict") -> str:
    """Return the text of a file of the root that this process is in.

    Raises FileNotFoundError if it is missing, BUILD_FAILED if it is not a regular file of UTF-8 text.
    """
    try:
        return read_text(path, errors=errors)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"{path} in the root cannot be read: {why}"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="replace it with a text file") from error
