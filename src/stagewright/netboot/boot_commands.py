"""Commands that boot a machine from a server, as `stagewright netboot serve` prints them."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright import run
from stagewright.netboot.methods import Method
from stagewright.netboot.programs import GrubNet
from stagewright.netboot.service import LOOPBACK
from stagewright.netboot.writer import SCRIPT

ANY = ("0.0.0.0", "::")  # noqa: S104  compared, not listened on

GATEWAY = "10.0.2.2"
"""Address of this computer's loopback interface for a guest on QEMU's user network."""


def outward_address(address: str) -> str:
    """Return the address that other machines reach; for "all addresses", the one of the default route."""
    if address not in ANY:
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the kernel only looks up the route (RFC 5737)
        except OSError:
            return LOOPBACK
        found: str = probe.getsockname()[0]
        return found


def boot_commands(
    url: str,
    address: str,
    port: int,
    acceleration: Sequence[str],
    *,
    tftp: Path | None,
    methods: Sequence[Method] = (),
) -> Mapping[str, str]:
    """Return commands: ``ipxe`` for the prompt of iPXE, ``qemu`` for a virtual machine on this computer.

    ``ipxe_stream`` is present if the set has the method `stream`, ``qemu_tftp`` if ``tftp`` is a folder.
    ``acceleration`` are arguments for QEMU, which exits if KVM is present and does not work. ``methods`` are the
    methods of the set.
    """
    local = address in ANY or address.startswith("127.")
    seen = f"http://{GATEWAY}:{port}" if local else url
    found = {"ipxe": f"dhcp && chain {url}/{SCRIPT}", "qemu": qemu_command(acceleration, f"bootfile={seen}/{SCRIPT}")}
    if Method.STREAM in methods:
        # old versions of iPXE do not know the address that they load from
        known = f"set method {Method.STREAM} && set base-url {url}"
        found["ipxe_stream"] = f"dhcp && {known} && chain {url}/{SCRIPT}"
    if tftp:
        found["qemu_tftp"] = qemu_command(acceleration, f"tftp={tftp}", f"bootfile={SCRIPT}")
    return found


def qemu_arm64_command(acceleration: Sequence[str], firmware: Path, folder: Path) -> str:
    """Return a command for an arm64 machine, whose firmware loads GRUB from QEMU's own TFTP server."""
    nic = f"user,model=virtio-net-pci,tftp={folder},bootfile={GrubNet.ARM64}"
    words = ["qemu-system-aarch64", "-M", "virt", *acceleration, "-smp", "2", "-m", "1536"]
    words += ["-drive", f"if=pflash,format=raw,readonly=on,file={firmware}", "-nographic"]
    return run.paste([*words, "-nic", nic, "-global", "virtio-net-pci.romfile="])


def qemu_command(acceleration: Sequence[str], *network: str) -> str:
    """Return a command for a virtual machine with its console on the terminal; Ctrl-A X ends it."""
    nic = ",".join(["user", "model=virtio-net-pci", *network])
    words = ["qemu-system-x86_64", "-M", "q35", *acceleration, "-smp", "2"]
    return run.paste([*words, "-m", "1024", "-nographic", "-nic", nic])
