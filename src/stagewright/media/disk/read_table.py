"""Partition tables of disk images of any origin: GPT, or the older table in the first sector.

Sources: UEFI specification, chapter 5 (GUID Partition Table). Numbers of an image are not trusted: partitions outside
of the disk are reported, and are not read.
"""

from __future__ import annotations

import itertools
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stagewright.media.disk.partition_table import SECTOR
from stagewright.media.disk.partition_types import BIOS_BOOT, role_of

Read = Callable[[int, int], bytes]
"""Return bytes of a disk by offset and number; fewer at its end."""

ESP, EXTENDED_BOOT = "esp", "xbootldr"
"""The types of partitions that firmware and boot loaders read."""

_SIGNATURE, _BOOT_CODE = b"\x55\xaa", 440  # bytes
_MOST_ENTRIES, _ENTRY = 1024, 128
_OLD_TYPES = {0xEF: ESP, 0xEA: EXTENDED_BOOT, 0x82: "swap", 0x83: "linux-generic", 0x0B: "fat", 0x0C: "fat"}


@dataclass(frozen=True)
class FoundPartition:
    """A partition of a table. ``type`` is a name of repart.d(5) or a GUID; ``start`` and ``size`` are in bytes."""

    number: int
    type: str
    label: str
    uuid: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.size


@dataclass(frozen=True)
class FoundTable:
    """A partition table. ``kind`` is ``gpt`` or ``mbr``; ``has_boot_code`` is True if a BIOS finds a program."""

    kind: str
    partitions: tuple[FoundPartition, ...]
    has_boot_code: bool
    problems: tuple[str, ...]


def read_table(read: Read, size: int) -> FoundTable | None:
    """Return the partition table of a disk of a size in bytes; None if it has none."""
    first, header = read(0, SECTOR), read(SECTOR, SECTOR)
    if first[510:] != _SIGNATURE:
        return None
    code = any(first[:_BOOT_CODE])
    if header[:8] != b"EFI PART":
        partitions = tuple(_old_partitions(first))
        return FoundTable("mbr", partitions, code, tuple(_places(partitions, size)))
    problems = []
    length, crc, _, own, backup = struct.unpack_from("<IIIQQ", header, 12)
    start, count, entry_size, entries_crc = struct.unpack_from("<QIII", header, 72)
    if not 92 <= length <= SECTOR or zlib.crc32(header[:16] + bytes(4) + header[20:length]) != crc or own != 1:
        problems.append("partition table: the checksum of its header is wrong")
    known = entry_size % _ENTRY == 0 and 0 < count * entry_size <= _MOST_ENTRIES * _ENTRY
    entries = read(start * SECTOR, count * entry_size) if known and start * SECTOR < size else b""
    if zlib.crc32(entries) != entries_crc or len(entries) != count * entry_size:
        problems.append("partition table: the checksum of its entries is wrong")
    if backup != size // SECTOR - 1 or read(backup * SECTOR, SECTOR)[:8] != b"EFI PART":
        problems.append("partition table: no backup in the last sector of the disk")
    partitions = tuple(_partitions(entries, entry_size)) if entries else ()
    return FoundTable("gpt", partitions, code, (*problems, *_places(partitions, size)))


def _partitions(entries: bytes, entry_size: int) -> Iterator[FoundPartition]:
    for number, at in enumerate(range(0, len(entries) - _ENTRY + 1, entry_size), 1):
        kind, own = (uuid.UUID(bytes_le=entries[at + place : at + place + 16]) for place in (0, 16))
        if kind.int:
            start, last = struct.unpack_from("<QQ", entries, at + 32)
            label = entries[at + 56 : at + 128].decode("utf-16-le", errors="replace").partition("\0")[0]
            name = "bios-boot" if str(kind) == BIOS_BOOT else role_of(str(kind))
            size = max(0, last + 1 - start) * SECTOR
            yield FoundPartition(number, name, label, str(own), start * SECTOR, size)


def _old_partitions(sector: bytes) -> Iterator[FoundPartition]:
    (disk,) = struct.unpack_from("<I", sector, _BOOT_CODE)
    for number in range(1, 5):
        kind, start, count = struct.unpack_from("<4xB3xII", sector, 446 + 16 * (number - 1))
        if kind and count:
            name = _OLD_TYPES.get(kind, f"{kind:#04x}")
            own = f"{disk:08x}-{number:02x}"  # as Linux names it (block/partitions/msdos.c)
            yield FoundPartition(number, name, "", own, start * SECTOR, count * SECTOR)


def _places(partitions: Sequence[FoundPartition], size: int) -> Iterator[str]:
    ordered = sorted(partitions, key=lambda one: one.start)
    for one in ordered:
        if one.end > size:
            yield f"partition {one.number} ends {one.end - size} bytes after the disk: the image is truncated"
    for before, after in itertools.pairwise(ordered):
        if before.end > after.start:
            yield f"partitions {before.number} and {after.number} overlap"
