"""Connections to a machine by vsock(7), which needs no network in the guest.

systemd in a guest (256 or newer) has an SSH server there (systemd-ssh-generator(8)). As a program,
``python -m stagewright.vm.vsock CID`` is a ``ProxyCommand`` for ssh(1) with ``ProxyUseFdpass``: it connects, and hands
the connection over by its standard output, a socket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import struct
import sys
from pathlib import Path

DEVICE = Path("/dev/vhost-vsock")

SSH = 22
"""Port of the SSH server."""

SET_OWNER, SET_ADDRESS = 0xAF01, 0x4008AF60
"""Requests to the device (linux/vhost.h): VHOST_SET_OWNER, VHOST_VSOCK_SET_GUEST_CID."""

_FIRST = 3  # the addresses below it are reserved (vsock(7))
_ATTEMPTS = 20


def free_address(device: Path = DEVICE) -> int | None:
    """Return an address that no machine has, or None if this computer has no vsock that works.

    A device that exists may not work, so an address is really set for a moment.
    """
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, SET_OWNER)
            return _set_address(descriptor)
        finally:
            os.close(descriptor)
    return None


def _set_address(descriptor: int) -> int | None:
    for _ in range(_ATTEMPTS):
        address = _FIRST + secrets.randbelow(0x7FFF_FFFF - _FIRST)
        try:
            fcntl.ioctl(descriptor, SET_ADDRESS, struct.pack("<Q", address))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return address
    return None


def connect(address: int, port: int = SSH, limit: float = 5) -> socket.socket:
    """Return a connection to a port of a machine. Raises OSError."""
    connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        connection.settimeout(limit)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def hand_over(connection: socket.socket, receiver: int) -> None:
    """Send a connection to a socket of this process, given by its descriptor (SCM_RIGHTS, unix(7))."""
    connection.setblocking(True)
    with socket.socket(fileno=os.dup(receiver)) as channel:
        socket.send_fds(channel, [b"\0"], [connection.fileno()])


if __name__ == "__main__":
    with connect(int(sys.argv[1])) as made:
        hand_over(made, 1)
