"""One initramfs that contains the image, for boot loaders that load only one file in addition to the kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.netboot.methods import CPIO_MOST, IN_INITRAMFS
from stagewright.release.artifact_digests import CHUNK, DigestedFile, FileDigests

ALIGNMENT = 4
"""Alignment, in bytes, at which the kernel finds an archive behind another one (measured)."""

_END = bytes(4)
"""Zeros behind the initramfs: without them the kernel reads the image as the next block of an lz4 archive."""


def write_combined(initramfs: Path, image: Path, target: Path) -> FileDigests:
    """Write an initramfs followed by an archive with the image, and return the digests. The output is reproducible.

    Raises ``BUILD_FAILED`` if the image is too large for a cpio archive.
    """
    size = image.stat().st_size
    if size > CPIO_MOST:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{image.name}: too large for an initramfs ({size} bytes; files must be below 4 GiB)",
            hint="set combined = false, and fetch the image over HTTP",
        )
    with DigestedFile(target) as stream, initramfs.open("rb") as first, image.open("rb") as second:
        shutil.copyfileobj(first, stream, CHUNK)
        stream.write(_padding(stream.size) + _END)
        stream.write(_header(IN_INITRAMFS, size, mode=0o100444))
        shutil.copyfileobj(second, stream, CHUNK)
        stream.write(_padding(stream.size))
        stream.write(_header("TRAILER!!!", 0, mode=0))
    return stream.digests


def _header(name: str, size: int, *, mode: int) -> bytes:
    """Return a header of cpio's "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return header + _padding(len(header))


def _padding(position: int) -> bytes:
    return bytes(-position % ALIGNMENT)
