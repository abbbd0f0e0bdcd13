"""What to type so that a machine starts from a server: one definition for commands and documentation."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright import run
from stagewright.netboot.companions import LOOPBACK
from stagewright.netboot.methods import Method
from stagewright.netboot.programs import GrubNet
from stagewright.netboot.writer import SCRIPT

ANY = ("0.0.0.0", "::")  # noqa: S104  what is compared, not listened on

GATEWAY = "10.0.2.2"
"""This machine, as a guest on QEMU's user network sees its loopback."""


def outward_address(address: str) -> str:
    """The address that other machines reach: what was asked for, or, for all, the one that leads outward."""
    if address not in ANY:
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only the route is looked up (RFC 5737)
        except OSError:
            return LOOPBACK
        found: str = probe.getsockname()[0]
        return found


def lines(
    url: str,
    address: str,
    port: int,
    acceleration: Sequence[str],
    *,
    tftp: Path | None,
    methods: Sequence[Method] = (),
) -> Mapping[str, str]:
    """What to type, by where: at iPXE's prompt, and for a virtual machine on this computer.

    ``acceleration`` are arguments for QEMU, since it gives up where KVM is there and does not work. ``methods`` are
    those of the set; a web server is all that streaming takes.
    """
    local = address in ANY or address.startswith("127.")
    seen = f"http://{GATEWAY}:{port}" if local else url
    found = {"ipxe": f"dhcp && chain {url}/{SCRIPT}", "qemu": qemu(acceleration, f"bootfile={seen}/{SCRIPT}")}
    if Method.STREAM in methods:
        found["ipxe_stream"] = f"dhcp && set method {Method.STREAM} && chain {url}/{SCRIPT}"
    if tftp:
        found["qemu_tftp"] = qemu(acceleration, f"tftp={tftp}", f"bootfile={SCRIPT}")
    return found


def qemu_arm64(acceleration: Sequence[str], firmware: Path, folder: Path) -> str:
    """The same for a machine of arm64, whose firmware loads GRUB over TFTP, from QEMU itself."""
    nic = f"user,model=virtio-net-pci,tftp={folder},bootfile={GrubNet.ARM64}"
    words = ["qemu-system-aarch64", "-M", "virt", *acceleration, "-smp", "2", "-m", "1536"]
    words += ["-drive", f"if=pflash,format=raw,readonly=on,file={firmware}", "-nographic"]
    return run.paste([*words, "-nic", nic, "-global", "virtio-net-pci.romfile="])


def qemu(acceleration: Sequence[str], *network: str) -> str:
    """A command line for a virtual machine whose console is the terminal; Ctrl-A X ends it."""
    nic = ",".join(["user", "model=virtio-net-pci", *network])
    words = ["qemu-system-x86_64", "-M", "q35", *acceleration, "-smp", "2"]
    return run.paste([*words, "-m", "1024", "-nographic", "-nic", nic])
