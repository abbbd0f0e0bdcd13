"""Programs of the host that kinds need, with the packages that bring them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """A program of the host, and the packages that bring it (apt, Gentoo)."""

    program: str
    apt: str
    gentoo: str


SANDBOX = Tool("bwrap", "bubblewrap", "sys-apps/bubblewrap")
TAR = Tool("tar", "tar", "app-arch/tar")
QEMU = Tool("qemu-system-x86_64", "qemu-system-x86", "app-emulation/qemu")
NSPAWN = Tool("systemd-nspawn", "systemd-container", "sys-apps/systemd")
