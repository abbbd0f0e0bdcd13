"""Disks of a machine: a layer over an image, which keeps the writes of the guest, and empty disks.

Images in the store are never written to.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.run import run

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

_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def disk_size(word: str) -> int:
    """Return the bytes in a size with a unit: ``10G``. Raises ``USAGE``."""
    found = re.fullmatch(r"(\d{1,6})([MGT])", word.upper())
    if not found or not int(found[1]):
        raise StagewrightError(Reason.USAGE, f"--disk {word}: not a size", hint="write a number and M, G or T: 10G")
    return int(found[1]) * _UNITS[found[2]]


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


def empty(folder: Path, size: int) -> Path:
    """Return an empty disk of a size in bytes. Makes it if it is missing. It uses no space until it is written to.

    Raises: INVALID_VALUE if the folder has a disk of another size.
    """
    path = folder / EMPTY
    if path.exists():
        found = json.loads(run(["qemu-img", "info", "--force-share", "--output=json", path]).stdout)["virtual-size"]
        if found != size:
            what = f"{path}: has another size ({found >> 20} MiB, not {size >> 20} MiB)"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="leave --disk as it was, or name another folder")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)])
    return path
