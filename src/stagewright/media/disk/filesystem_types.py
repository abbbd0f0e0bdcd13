"""File systems that partitions of an image can have."""

from __future__ import annotations

import enum

MIB = 1 << 20


class FileSystem(enum.StrEnum):
    """A file system, by the name that repart.d(5) and mount(8) use."""

    VFAT = "vfat"
    EXT4 = "ext4"
    XFS = "xfs"
    BTRFS = "btrfs"
    EROFS = "erofs"
    SQUASHFS = "squashfs"
    SWAP = "swap"

    @property
    def is_read_only(self) -> bool:
        """True if it is as large as its content and cannot be changed."""
        return self in (FileSystem.EROFS, FileSystem.SQUASHFS)

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of this computer that make it."""
        return {
            FileSystem.VFAT: ("mkfs.vfat", "mcopy"),
            FileSystem.EXT4: ("mkfs.ext4", "debugfs"),
            FileSystem.XFS: ("mkfs.xfs", "xfs_db"),
            FileSystem.BTRFS: ("mkfs.btrfs",),
            FileSystem.EROFS: ("mkfs.erofs",),
            FileSystem.SQUASHFS: ("mksquashfs",),
            FileSystem.SWAP: ("mkswap",),
        }[self]

    @property
    def least(self) -> int:
        """The smallest size in bytes that its program makes."""
        return {
            FileSystem.VFAT: 1 * MIB,
            FileSystem.EXT4: 4 * MIB,
            FileSystem.XFS: 300 * MIB,
            FileSystem.BTRFS: 128 * MIB,
            FileSystem.SWAP: 1 * MIB,
        }.get(self, 0)

    def room_for(self, content: int) -> int:
        """Return the size in bytes that holds files with ``content`` bytes and leaves the system some room."""
        return max(self.least, int(content * _GROWTH) + _FREE)

    @property
    def check_pass(self) -> int:
        """The sixth field of fstab(5) for a file system that is not the root."""
        return 2 if self in (FileSystem.EXT4, FileSystem.VFAT) else 0


_GROWTH = 1.1  # size of a file system in relation to its files, measured with ext4
_FREE = 64 * MIB
