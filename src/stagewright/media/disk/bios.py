"""GRUB for BIOS on a disk: its core image in a partition, and code in the first sector that loads it.

The places of fields are those of GRUB's boot.S and diskboot.S (include/grub/i386/pc/boot.h); grub-bios-setup(8), which
writes the same, needs a device.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.partition_table import SECTOR

_CODE = 440  # bytes of the first sector before the partition table of the protective MBR
_CORE_START, _DRIVE_CHECK = 0x5C, 0x66  # in boot.img
_BLOCK_LIST = SECTOR - 12  # in the first sector of the core image: start (8 bytes), length, segment
_NO_OPERATION = b"\x90\x90"


@dataclass(frozen=True)
class BiosCode:
    """GRUB's ``core`` image and its code for the first sector."""

    core: Path
    mbr: Path

    @property
    def size(self) -> int:
        """Size of the core image in bytes."""
        return self.core.stat().st_size

    def write(self, image: Path, start: int, size: int) -> None:
        """Write it into an image, to a partition at ``start`` with ``size`` bytes. Raises: BUILD_FAILED."""
        core, mbr = bytearray(self.core.read_bytes()), bytearray(self.mbr.read_bytes()[:_CODE])
        if len(core) > size or len(mbr) < _CODE:
            message = f"layout: GRUB needs {len(core) >> 10} KiB in the BIOS boot partition, which has {size >> 10} KiB"
            raise StagewrightError(Reason.BUILD_FAILED, message, hint="write SizeMinBytes=1M in its definition")
        sector = start // SECTOR
        struct.pack_into("<Q", core, _BLOCK_LIST, sector + 1)
        struct.pack_into("<Q", mbr, _CORE_START, sector)
        mbr[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NO_OPERATION  # trust the drive that BIOS names
        with image.open("r+b") as stream:
            stream.write(mbr)
            stream.seek(start)
            stream.write(core)
