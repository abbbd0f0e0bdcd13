"""Disks of a machine: a layer over an image, which keeps the writes of the guest, and empty disks.

Images in the store are never written to.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.run import run
from stagewright.units import parse_size

LAYER, EMPTY, VARIABLES = "disk.qcow2", "empty.qcow2", "variables.fd"
"""Names of the files in the folder of a machine."""

QCOW2 = ".qcow2"
"""The end of names of disks in this format; all others are raw."""

_SECTOR, _SIGNATURE = 512, b"\x55\xaa"

_CONVERTED = ("vmdk", "vdi", "vhdx", "vhd", "qed")

_MAGIC = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "vmdk",
    b"<<< Oracle VM VirtualBox Disk Image": "vdi",
    b"<<< QEMU VM Virtual Disk Image": "vdi",
    b"vhdxfile": "vhdx",
    b"conectix": "vhd",
    b"QED\0": "qed",
    b"hsqs": "squashfs",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"\x1f\x8b": "gzip",
}
"""The first bytes of files, and the format."""

SIZE = r"0*[1-9]\d{0,5}[MGTmgt]"
"""Pattern of the size of a disk."""

SERIAL = r"[A-Za-z0-9_-]{1,20}"
"""Pattern of a serial number. virtio and NVMe have 20 bytes for it."""


class DiskBus(enum.StrEnum):
    """The bus of an empty disk. Linux names the disk vda, sda or nvme0n1."""

    VIRTIO = "virtio"
    SCSI = "scsi"
    NVME = "nvme"

    @property
    def device(self) -> str:
        """QEMU's device, with the options that do not depend on the disk."""
        match self:
            case DiskBus.VIRTIO:
                return "virtio-blk-pci,werror=report"  # the guest sees a full disk; by default QEMU stops the machine
            case DiskBus.SCSI:
                return "scsi-hd,bus=disks.0,werror=report"
        return "nvme"


@dataclass(frozen=True)
class EmptyDisk:
    """An empty disk to make. ``size`` is in bytes.

    ``serial`` is the serial number, which is a part of the names in /dev/disk/by-id. ``path`` is the qcow2 file, once
    it is known.
    """

    size: int
    serial: str = "disk1"
    bus: DiskBus = DiskBus.VIRTIO
    path: Path = field(default_factory=Path)


def disk_size(word: str) -> int:
    """Return the bytes in a size with a unit: ``10G``. Raises ``USAGE``."""
    if not re.fullmatch(SIZE, word):
        raise StagewrightError(Reason.USAGE, f"disk {word}: not a size", hint="write a number and M, G or T: 10G")
    return parse_size(word.upper())


def disk_of(words: str, number: int) -> EmptyDisk:
    """Return the disk that an option describes: ``10G`` or ``10G,serial=NAME,bus=nvme``. Raises ``USAGE``."""
    size, *others = words.split(",")
    known = {"serial": f"disk{number}", "bus": DiskBus.VIRTIO.value}
    for word in others:
        name, _, value = word.partition("=")
        if name not in known:
            hint = f"write {size},serial=NAME,bus=nvme"
            raise StagewrightError(Reason.USAGE, f"disk {words}: unknown word {word!r}", hint=hint)
        known[name] = value
    if not re.fullmatch(SERIAL, known["serial"]):
        hint = "write up to 20 letters, digits, - and _"
        raise StagewrightError(Reason.USAGE, f"disk {words}: not a serial number ({known['serial']!r})", hint=hint)
    if known["bus"] not in list(DiskBus):
        hint = f"write {', '.join(DiskBus)}"
        raise StagewrightError(Reason.USAGE, f"disk {words}: not a bus ({known['bus']!r})", hint=hint)
    return EmptyDisk(disk_size(size), known["serial"], DiskBus(known["bus"]))


def empty_name(number: int) -> str:
    """Return the name of an empty disk's file. The first number is 1."""
    return EMPTY if number == 1 else f"empty-{number}.qcow2"


def placed(disks: Sequence[EmptyDisk], folder: Path) -> tuple[EmptyDisk, ...]:
    """Return the disks with their paths in a folder. The files may be missing."""
    return tuple(
        EmptyDisk(disk.size, disk.serial, disk.bus, folder / empty_name(number)) for number, disk in enumerate(disks, 1)
    )


def made(disks: Sequence[EmptyDisk], folder: Path) -> tuple[EmptyDisk, ...]:
    """Return the disks with their files in a folder, which are made if they are missing."""
    found = placed(disks, folder)
    for disk in found:
        empty(disk.path, disk.size)
    return found


def check_disk(image: Path) -> None:
    """Raise ``BAD_ARCHIVE`` for a file that is not a disk image, or whose format its name does not say.

    Firmware starts nothing from a raw disk without the signature of a boot sector, which partition tables have, too.
    The format of a disk that a guest wrote to is never guessed: it could name other files of this computer.
    """
    try:
        with image.open("rb") as stream:
            head = stream.read(_SECTOR)
    except OSError as error:
        raise StagewrightError(Reason.BAD_ARCHIVE, f"{image}: cannot be read ({error.strerror})") from error
    found = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    named = "qcow2" if image.suffix == QCOW2 else "raw"
    if found == named or (named == "raw" and not found and head[510:] == _SIGNATURE):
        return
    hint = "name an ISO, a raw or qcow2 disk image, or the folder of a network set"
    if found == "qcow2":
        hint = f"rename it to {image.stem}.qcow2"
    elif image.suffix == ".ova":
        hint = f"tar -xf {image.name} {image.stem}-disk1.vmdk, then qemu-img convert -O qcow2 the vmdk"
    elif found in _CONVERTED:
        hint = f"qemu-img convert -O qcow2 {image.name} {image.stem}.qcow2"
    what = f"a file of the format {found}" if found else "no partition table" if any(head) else "empty"
    wanted = "not a qcow2 disk image" if named == "qcow2" else "not a raw disk image"
    raise StagewrightError(Reason.BAD_ARCHIVE, f"{image}: {wanted} ({what})", hint=hint)


def layer(image: Path, folder: Path) -> Path:
    """Return a disk with the content of an image, which keeps the writes of the guest. Makes it if it is missing.

    Raises: INVALID_VALUE if the folder has the layer of another image.
    """
    path, source = folder / LAYER, folder / f"{LAYER}.image"
    if path.exists():
        known = source.read_text(encoding="utf-8") if source.exists() else ""
        if known != str(image):
            what = f"{folder}: has the disk of another image ({known or 'unknown'})"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="name another folder, or remove this one")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    source.write_text(str(image), encoding="utf-8")
    kind = "qcow2" if image.suffix == QCOW2 else "raw"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", kind, path])
    return path


def empty(path: Path, size: int) -> Path:
    """Return an empty disk of a size in bytes. Makes it if it is missing. It uses no space until it is written to.

    Raises: INVALID_VALUE if the file is a disk of another size.
    """
    if path.exists():
        found = json.loads(run(["qemu-img", "info", "--force-share", "--output=json", path]).stdout)["virtual-size"]
        if found != size:
            what = f"{path}: has another size ({found >> 20} MiB, not {size >> 20} MiB)"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="leave --disk as it was, or name another folder")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)])
    return path
