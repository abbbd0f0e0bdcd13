"""Partitions for dm-verity: the hash tree of a data partition behind a superblock, as veritysetup(8) writes them.

Format: cryptsetup's wiki, DMVerity, on-disk format, version 1; sha256 with blocks of 4096 bytes. The salt is a digest
of the data, and the identifiers come from the root hash, so equal data have equal partitions.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.graph.file_digest import digest_of
from stagewright.media.verity import BLOCK, blocks_of, hash_tree
from stagewright.untrusted import LARGEST

_SIGNATURE = b"verity\0\0"
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s168x")
_HASH = hashlib.sha256().digest_size
_SIZES = range(512, (1 << 20) + 1)  # of blocks, in bytes


@dataclass(frozen=True)
class VerityPair:
    """The root hash of a data partition: 64 hexadecimal digits."""

    root_hash: str

    @property
    def data_uuid(self) -> str:
        """The UUID of the data partition: the first half of the root hash (Discoverable Partitions Specification)."""
        return str(uuid.UUID(self.root_hash[:32]))

    @property
    def hash_uuid(self) -> str:
        """The UUID of the hash partition: the second half."""
        return str(uuid.UUID(self.root_hash[32:]))


def make_hash_partition(data: Path, target: Path) -> VerityPair:
    """Write the hash partition of a file that a data partition begins with. Zeros fill up its last block."""
    digest = digest_of(data, "sha256")
    salt = hashlib.sha256(f"verity salt\0{digest}".encode()).digest()
    with data.open("rb") as stream:
        blocks, root_hash, tree = hash_tree(blocks_of(stream), salt)
    own = hashlib.sha256(f"verity uuid\0{digest}".encode()).digest()[:16]
    head = _SUPERBLOCK.pack(_SIGNATURE, 1, 1, own, b"sha256", BLOCK, BLOCK, blocks, len(salt), salt)
    with target.open("wb") as stream:
        stream.write(head.ljust(BLOCK, b"\0"))
        stream.write(tree)
    return VerityPair(root_hash)


def read_sizes(stream: IO[bytes]) -> tuple[int, int] | None:
    """Return the sizes in bytes that dm-verity uses of a data partition and of its hash partition.

    ``stream`` is at the start of the hash partition. None if it has no superblock of version 1 with sha256.
    """
    data = stream.read(_SUPERBLOCK.size)
    if len(data) < _SUPERBLOCK.size:
        return None
    signature, version, _, _, algorithm, data_block, block, blocks, _, _ = _SUPERBLOCK.unpack(data)
    known = signature == _SIGNATURE and version == 1 and algorithm.rstrip(b"\0") == b"sha256"
    if not known or data_block not in _SIZES or block not in _SIZES or blocks > LARGEST:
        return None
    return data_block * blocks, _hash_blocks(blocks, block) * block


def hash_size(data: int) -> int:
    """Return the size in bytes of the hash partition of that many bytes of data."""
    return _hash_blocks(-(-data // BLOCK), BLOCK) * BLOCK


def _hash_blocks(blocks: int, size: int) -> int:
    """Return the number of blocks of a hash partition: superblock and tree. ``size`` is that of a block of it."""
    level, total = blocks, 1
    while level > 1:
        level = -(-level // (size // _HASH))
        total += level
    return total
