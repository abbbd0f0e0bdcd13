"""dm-verity for images: a hash tree behind the data, and the kernel argument with its root hash.

Format: Documentation/admin-guide/device-mapper/verity.rst of the kernel, version 1, sha256, without salt and header.
The kernel argument has all parameters, so a signed command line vouches for every byte of the image. The initramfs
opens the image by the dracut module ``stagewright-verity`` (folder ``verified``).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from stagewright.untrusted import LARGEST, number

BLOCK = 4096
"""Size of a block of the data and of the tree, in bytes."""

_HASH = hashlib.sha256().digest_size

ARGUMENT = "rd.stagewright.verity"
"""Name of the kernel argument."""

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
        blocks, root, tree = hash_tree(blocks_of(stream))
        stream.seek(0, os.SEEK_END)
        stream.write(bytes(-stream.tell() % BLOCK))
        stream.write(tree)
    return f"{blocks}:{root}"


def proves(verity: str, image: Path) -> bool:
    """Return True if an image and its hash tree match `BLOCKS:HASH`."""
    words, _, root = verity.partition(":")
    blocks = number(words, limit=LARGEST // BLOCK)
    if not blocks or blocks * BLOCK > image.stat().st_size:
        return False
    with image.open("rb") as stream:
        _, found, tree = hash_tree(itertools.islice(blocks_of(stream), blocks))
        stream.seek(blocks * BLOCK)
        return found == root and stream.read(len(tree)) == tree


def hash_tree(data: Iterable[bytes], salt: bytes = b"") -> tuple[int, str, bytes]:
    """Return the number of blocks, the root hash, and the hash tree, which begins with the root's block."""
    salted = hashlib.sha256(salt)

    def digest(block: bytes) -> bytes:
        one = salted.copy()
        one.update(block)
        return one.digest()

    hashes = b"".join(map(digest, data))
    blocks, levels = len(hashes) // _HASH, list[bytes]()
    while len(hashes) > _HASH:
        level = hashes + bytes(-len(hashes) % BLOCK)
        levels.append(level)
        pieces = (level[start : start + BLOCK] for start in range(0, len(level), BLOCK))
        hashes = b"".join(map(digest, pieces))
    return blocks, hashes.hex(), b"".join(reversed(levels))


def arguments(verity: str) -> list[str]:
    """Return the kernel arguments for an image with this `BLOCKS:HASH`; none if it is empty."""
    return [f"{ARGUMENT}={verity}"] if verity else []


def blocks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a file. Zeros fill up the last one."""
    while block := stream.read(BLOCK):
        yield block.ljust(BLOCK, b"\0")
