"""dm-verity for images: a hash tree behind the data, and the kernel argument with its root hash.

Format: Documentation/admin-guide/device-mapper/verity.rst of the kernel, version 1, sha256, without salt and header.
The kernel argument has all parameters, so a signed command line vouches for every byte of the image. The initramfs
opens the image by the dracut module ``stagewright-verity`` (folder ``verified``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

BLOCK = 4096
"""Size of a block of the data and of the tree, in bytes."""

MODULE = "stagewright-verity"
"""Name of the dracut module."""

LIVE_ROOT = "stagewright-live-root"
"""Name that the dracut module gives to dracut's own script. Without it the module did not take over."""

PROGRAMS = {"dmsetup": "dmsetup or sys-fs/lvm2", "losetup": "mount or util-linux", "setsid": "util-linux"}
"""Programs that the dracut module copies from the environment, with the packages that install them."""

OPTIONS = {"DM_VERITY": "dm_verity"}
"""Kernel option that it requires, and the driver that the option builds."""


def append_tree(image: Path) -> str:
    """Append the hash tree to an image, and return `BLOCKS:HASH`: the number of data blocks and the root hash."""
    with image.open("r+b") as stream:
        hashes = b"".join(hashlib.sha256(block).digest() for block in _blocks(stream))
        blocks = len(hashes) // hashlib.sha256().digest_size
        stream.seek(0, 2)
        stream.write(bytes(-stream.tell() % BLOCK))
        levels = []
        while len(hashes) > hashlib.sha256().digest_size:
            level = hashes + bytes(-len(hashes) % BLOCK)
            levels.append(level)
            pieces = (level[start : start + BLOCK] for start in range(0, len(level), BLOCK))
            hashes = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
        for level in reversed(levels):  # the root comes first
            stream.write(level)
    return f"{blocks}:{hashes.hex()}"


def arguments(verity: str) -> list[str]:
    """Return the kernel arguments for an image with this `BLOCKS:HASH`; none if it is empty."""
    return [f"rd.stagewright.verity={verity}"] if verity else []


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a file. Zeros fill up the last one."""
    while block := stream.read(BLOCK):
        yield block.ljust(BLOCK, b"\0")
