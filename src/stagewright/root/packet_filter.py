"""A filter for the packets that leave a network namespace by a tap device, as a program of classic BPF.

A program without any right can have the kernel send a packet to any address through a device that it names
(SO_BINDTODEVICE of socket(7), IP_PKTINFO of ip(7)), past all routes. The filter is attached to the device itself
(TUNATTACHFILTER of the kernel's tun driver), where nothing passes it. It lets ARP and IPv4 through, except to the
addresses that are refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path

DEVICE = Path("/dev/net/tun")

_LOAD_HALF, _LOAD_WORD, _AND, _JUMP_EQUAL, _RETURN = 0x28, 0x20, 0x54, 0x15, 0x06
_PROTOCOL, _DESTINATION = 12, 30
"""Places in an Ethernet frame: of the protocol, and of the destination of an IPv4 packet."""

_ARP, _IPV4 = 0x0806, 0x0800
_WHOLE = 0x40000

_PIDFD_GETFD = 438
"""Number of pidfd_getfd(2) on all architectures but alpha and mips, where it fails."""

_ATTACH_FILTER = 1 << 30 | struct.calcsize("HP") << 16 | ord("T") << 8 | 213

_c_library = ctypes.CDLL(None, use_errno=True)


_Instruction = tuple[int, int, int, int]
"""An instruction of classic BPF: its code, the numbers of instructions to skip if true and if false, and a value."""


def program(refused: Iterable[IPv4Network]) -> bytes:
    """Return the filter."""
    found = [
        *_load(_LOAD_HALF, _PROTOCOL),
        *_if_equal(_ARP, _WHOLE),
        *_jump_equal(_IPV4, 1),
        *_return(0),
        *_load(_LOAD_WORD, _DESTINATION),
    ]
    for network in sorted(refused, key=lambda one: -one.prefixlen):
        if network.prefixlen < 32:
            found += [*_load(_LOAD_WORD, _DESTINATION), (_AND, 0, 0, int(network.netmask))]
        found += _if_equal(int(network.network_address), 0)
    return b"".join(struct.pack("HBBI", *one) for one in [*found, *_return(_WHOLE)])


def _load(code: int, place: int) -> list[_Instruction]:
    return [(code, 0, 0, place)]


def _jump_equal(value: int, skipped: int) -> list[_Instruction]:
    return [(_JUMP_EQUAL, skipped, 0, value)]


def _return(length: int) -> list[_Instruction]:
    return [(_RETURN, 0, 0, length)]


def _if_equal(value: int, length: int) -> list[_Instruction]:
    """Return so many bytes of the packet if the loaded value is this one; 0 drops the packet."""
    return [(_JUMP_EQUAL, 0, 1, value), *_return(length)]


def attach(descriptor: int, filter_program: bytes) -> None:
    """Filter what the namespace sends by the tap device of a descriptor. Replaces an earlier filter."""
    code = ctypes.create_string_buffer(filter_program, len(filter_program))
    fcntl.ioctl(descriptor, _ATTACH_FILTER, struct.pack("HP", len(filter_program) // 8, ctypes.addressof(code)))


def device_of(process: int) -> int:
    """Return a descriptor of the tap device that another process has open. Raises OSError without the rights."""
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(entry) == str(DEVICE):  # noqa: PTH115
                return _copied(process, int(entry.name))
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), str(DEVICE))


def _copied(process: int, number: int) -> int:
    """Return a copy of a descriptor of another process."""
    handle = os.pidfd_open(process)
    try:
        found: int = _c_library.syscall(_PIDFD_GETFD, handle, number, 0)
        if found < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(DEVICE))
        return found
    finally:
        os.close(handle)
