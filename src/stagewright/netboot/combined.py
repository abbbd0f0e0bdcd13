"""One initramfs that holds the image: what loaders take that know only one file beside the kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.netboot.methods import CPIO_MOST, IN_INITRAMFS

ALIGNMENT = 4
"""The kernel finds an archive behind another one only at a multiple of this many bytes (measured)."""


def write_combined(initramfs: Path, image: Path, target: Path) -> None:
    """Write an initramfs followed by an archive with the image in it, and nothing of this machine or this time.

    Raises ``BUILD_FAILED`` for an image that such an archive cannot hold.
    """
    size = image.stat().st_size
    if size > CPIO_MOST:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{image.name} has {size} bytes, and the kernel unpacks no file of 4 GiB or more",
            hint="set combined = false, and fetch the image over HTTP",
        )
    with target.open("wb") as stream, initramfs.open("rb") as first, image.open("rb") as second:
        shutil.copyfileobj(first, stream, 1 << 20)
        stream.write(_padding(stream.tell()))
        stream.write(_header(IN_INITRAMFS, size, mode=0o100444))
        shutil.copyfileobj(second, stream, 1 << 20)
        stream.write(_padding(stream.tell()))
        stream.write(_header("TRAILER!!!", 0, mode=0))


def _header(name: str, size: int, *, mode: int) -> bytes:
    """A header of cpio's "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""
    fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return header + _padding(len(header))


def _padding(position: int) -> bytes:
    return bytes(-position % ALIGNMENT)
