"""Check the files of a firmware: code and variables of UEFI in flash memory.

QEMU maps the two files one below the other. A firmware volume begins with a header: 16 reserved bytes, a GUID, the
length in 64 bits, and the signature ``_FVH`` (UEFI PI specification, volume 3, EFI_FIRMWARE_VOLUME_HEADER).
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.firmware_problems import Cause, Problem

PAGE = 4096
"""Flash memory is a multiple of so many bytes (hw/i386/pc_sysfw.c)."""

X86_MOST = 8 << 20
"""Most bytes of flash memory in PCs (``max-fw-size`` of QEMU's machines)."""

BANKS = {"aarch64": 64 << 20, "arm": 64 << 20, "riscv64": 32 << 20}
"""Exact size in bytes of each flash chip of the machine ``virt``."""

X86 = ("x86_64", "i386")

_SIGNATURE, _VARIABLES = b"_FVH", bytes.fromhex("8d2bf1ff96768b4ca9852747075b4f50")
_QCOW2 = b"QFI\xfb"
_PLATFORM_KEY = "PK\0".encode("utf-16-le")
_HEAD, _STORE = 64 << 10, 1 << 20  # bytes to read of the code, and of the variables


@dataclass(frozen=True)
class Flash:
    """A file for a flash chip, as it is named in a descriptor."""

    path: Path
    format: str = "raw"


@dataclass(frozen=True)
class _Content:
    """Format, size of the memory in bytes, and the first bytes of a file; no bytes if the format is not raw."""

    format: str
    size: int
    head: bytes


def check_files(
    code: Flash, variables: Flash | None, architectures: frozenset[str], *, uefi: bool = True, keys: bool = False
) -> list[Problem]:
    """Return the problems of the files of a firmware.

    Without ``variables`` the code is the whole firmware. With ``keys`` the variables must have a platform key.
    """
    found = list(_check_code(code, architectures, uefi=uefi))
    if variables:
        found += _check_variables(variables, architectures, uefi=uefi, keys=keys)
    if not found and variables and architectures.intersection(X86):
        found += _check_pair(code, variables, uefi=uefi)
    return found


def content_of(file: Flash) -> _Content | Problem:
    """Return what a file has, or the reason why it cannot be used."""
    if not file.path.is_absolute():
        return Problem(Cause.RELATIVE_PATH, f"the path {file.path} is not absolute")
    try:
        status = file.path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Problem(Cause.FILE_NOT_REGULAR, f"{file.path} is not a regular file")
        with file.path.open("rb") as stream:
            head = stream.read(_STORE)
    except OSError as error:
        return _unreadable(file.path, error)
    if not head:
        return Problem(Cause.FILE_EMPTY, f"{file.path} is empty")
    if head.startswith(_QCOW2):
        return _Content("qcow2", int.from_bytes(head[24:32], "big"), b"")
    return _Content("raw", status.st_size, head)


def _unreadable(path: Path, error: OSError) -> Problem:
    if error.errno == errno.ENOENT:
        target = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        return Problem(Cause.FILE_MISSING, f"{path} does not exist{target}")
    if error.errno == errno.ELOOP:
        return Problem(Cause.FILE_MISSING, f"{path} is a symbolic link that leads back to itself")
    return Problem(Cause.FILE_UNREADABLE, f"{path} cannot be read: {error.strerror}")


def _check_format(file: Flash, content: _Content) -> Iterator[Problem]:
    if file.format != content.format:
        text = f"{file.path} is {content.format}, but the descriptor says {file.format}"
        yield Problem(Cause.WRONG_FORMAT, text)


def _check_size(file: Flash, content: _Content, architectures: frozenset[str]) -> Iterator[Problem]:
    for architecture in sorted(architectures.intersection(BANKS)):
        if content.size != BANKS[architecture]:
            need = f"the machine virt of {architecture} needs exactly {BANKS[architecture]}"
            yield Problem(Cause.WRONG_SIZE, f"{file.path} has {content.size} bytes, but {need}")
            return
    if content.size % PAGE:
        yield Problem(Cause.WRONG_SIZE, f"{file.path} has {content.size} bytes, which is not a multiple of {PAGE}")
    elif architectures.intersection(X86) and content.size > X86_MOST:
        yield Problem(Cause.WRONG_SIZE, f"{file.path} has {content.size} bytes; PCs have at most {X86_MOST}")


def _check_code(file: Flash, architectures: frozenset[str], *, uefi: bool) -> Iterator[Problem]:
    content = content_of(file)
    if isinstance(content, Problem):
        yield content
        return
    yield from _check_format(file, content)
    yield from _check_size(file, content, architectures)
    head = content.head[:_HEAD]
    if head and uefi and (_SIGNATURE not in head or head[16:32] == _VARIABLES):
        what = "UEFI variables, without code" if head[16:32] == _VARIABLES else "not a UEFI firmware"
        yield Problem(Cause.NOT_FIRMWARE, f"{file.path} is {what}")


def _check_variables(file: Flash, architectures: frozenset[str], *, uefi: bool, keys: bool) -> Iterator[Problem]:
    content = content_of(file)
    if isinstance(content, Problem):
        yield content
        return
    yield from _check_format(file, content)
    yield from _check_size(file, content, architectures)
    if not content.head or not uefi:
        return
    if content.head[16:32] != _VARIABLES and not _is_blank(content.head):
        yield Problem(Cause.NOT_VARIABLES, f"{file.path} has no UEFI variables")
    elif keys and _PLATFORM_KEY not in content.head:
        yield Problem(Cause.NO_KEYS, f"{file.path} has no platform key, but the feature enrolled-keys is listed")


def _is_blank(head: bytes) -> bool:
    """Return True if the memory was never written. The firmware formats it at the first start."""
    return head.strip(b"\0") == b"" or head.strip(b"\xff") == b""


def _check_pair(code: Flash, variables: Flash, *, uefi: bool) -> Iterator[Problem]:
    """Check that code and variables are of one build. EDK2 for PCs fills 1, 2, 4 or 8 MiB together."""
    parts = [content_of(code), content_of(variables)]
    sizes = [part.size for part in parts if isinstance(part, _Content)]
    total = sum(sizes)
    if uefi and (total & (total - 1) or total > X86_MOST):
        text = f"{variables.path} ({sizes[1]} bytes) does not belong to {code.path} ({sizes[0]} bytes)"
        yield Problem(Cause.PAIR_MISMATCH, f"{text}: together they are not 1, 2, 4 or 8 MiB")
