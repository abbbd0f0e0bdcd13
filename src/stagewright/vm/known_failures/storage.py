"""Failures of disks, file systems, and verified or encrypted devices."""

from __future__ import annotations

from stagewright.vm.failures import Part, rows

_VERITY = rows(
    Part.STORAGE,
    (
        "the image was changed, or is not the one that the boot arguments are for",
        r"the image was changed: ",
        "compare the image with its DIGESTS, and copy image, kernel and boot menu of the same build together",
    ),
    (
        "dm-verity found a changed block",
        r"device-mapper: verity: .* block \d+ is corrupted|device-mapper: verity: .*reached maximum errors",
        "compare the image with its DIGESTS, and copy it again",
    ),
    (
        "dm-verity could not open a device",
        r"device-mapper: (table: .*verity.*:|verity: .*(invalid|not match|cannot))",
        "check rd.stagewright.verity= or roothash= in the boot arguments",
    ),
    (
        "an encrypted device was not opened",
        r"No key available with this passphrase|Failed to activate with specified passphrase"
        r"|Failed to open LUKS device|Failed to unseal secret",
        "check the passphrase of the test, or the TPM of the machine",
    ),
)

_DISKS = rows(
    Part.STORAGE,
    (
        "a disk or server returned a read or write error",
        r"I/O error, dev \w+|Buffer I/O error on dev|rejecting I/O to offline device|critical (medium|target) error",
        "check the image file and the disk of this computer",
    ),
    (
        "the connection to a network block device ended",
        r"block nbd\d+: (Receive control failed|Send control failed|Connection timed out|shutting down sockets|Dead)",
        "look at the log of the NBD server",
    ),
    (
        "a disk did not answer in time",
        r"ata\d+(\.\d+)?: (failed command|exception Emask|COMRESET failed|SRST failed)|nvme\d*.*: I/O .*timeout",
        "the host was too busy, or its disk is slow",
    ),
    (
        "an NFS server did not answer or refused",
        r"nfs: server \S+ not responding|mount\.nfs4?: |NFS over \S+ not available",
        "look at the log of the NFS server",
    ),
)

_FILE_SYSTEMS = rows(
    Part.STORAGE,
    (
        "ext4 found an error in the file system",
        r"EXT4-fs (error|\([^)]*\): (error|Delayed block allocation failed|Corrupt|bad ))|JBD2: (Detected|Error)",
        "the machine or QEMU was killed while it wrote, or the image is damaged: build it again",
    ),
    (
        "Btrfs found an error in the file system",
        r"BTRFS (error|critical)\b|BTRFS: error",
        "the image is damaged, or smaller than its partition table says: build it again",
    ),
    (
        "XFS found an error in the file system",
        r"XFS \([^)]*\): (Corruption|Metadata (corruption|CRC error)|Internal error|log mount/recovery failed)",
        "the machine or QEMU was killed while it wrote, or the image is damaged: build it again",
    ),
    (
        "the squashfs image is damaged or incomplete",
        r"SQUASHFS error: ",
        "compare the image with its DIGESTS, and copy it again",
    ),
    (
        "the file system of a disc, stick or image is damaged",
        r"FAT-fs \([^)]*\): (error|bogus|FAT read failed)|ISOFS: Unable to (identify|read)"
        r"|erofs: .*(mismatch|corrupted)",
        "compare the medium with its DIGESTS, and write it again",
    ),
    (
        "a file system could not be mounted: the kernel does not know its type",
        r"unknown filesystem type '|mount: .*wrong fs type, bad option|Can't open blockdev"
        r"|No filesystem could mount root",
        "add the driver of the file system to the kernel or to `initramfs.drivers`",
    ),
    (
        "an overlay could not be mounted",
        r"overlayfs: (failed|missing|unrecognized|maximum fs stacking|filesystem on)",
        "the file system of the upper folder must support extended attributes: use tmpfs or ext4",
    ),
    (
        "a file system needs a check by a person",
        r"UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY|\*\*\* An error occurred during the file system check",
        "the machine was killed while it wrote: start from a new disk",
    ),
    (
        "a file system is full",
        r"No space left on device",
        "raise the size of the disk, or `memory` of the test: a live system writes to memory",
    ),
)

STORAGE = (*_VERITY, *_DISKS, *_FILE_SYSTEMS)
"""Failures of disks and file systems."""
