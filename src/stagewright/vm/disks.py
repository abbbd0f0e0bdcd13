"""Disks of a machine: a layer over an image, which keeps the writes of the guest, and empty disks.

Images in the store are never written to.
"""

from __future__ import annotations

import re
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.run import run

LAYER, EMPTY, VARIABLES = "disk.qcow2", "empty.qcow2", "variables.fd"
"""Names of the files in the folder of a machine."""

_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def disk_size(word: str) -> int:
    """Return the bytes in a size with a unit: ``10G``. Raises ``USAGE``."""
    found = re.fullmatch(r"(\d{1,6})([MGT])", word.upper())
    if not found or not int(found[1]):
        raise StagewrightError(Reason.USAGE, f"--disk {word}: not a size", hint="write a number and M, G or T: 10G")
    return int(found[1]) * _UNITS[found[2]]


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
    kind = "qcow2" if image.suffix == ".qcow2" else "raw"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", kind, path])
    return path


def empty(folder: Path, size: int) -> Path:
    """Return an empty disk of a size in bytes. Makes it if it is missing. It uses no space until it is written to."""
    path = folder / EMPTY
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)])
    return path
