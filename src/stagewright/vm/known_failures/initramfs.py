"""Failures in the initramfs: dracut's, genkernel's, and our own modules of dracut."""

from __future__ import annotations

from stagewright.vm.failures import Part, rows

_FINAL_DRACUT = rows(
    Part.INITRAMFS,
    (
        "dracut got no root= argument",
        r"dracut: FATAL: No or empty root= argument",
        "cdroot and docache are words for genkernel: `stagewright boot FILE --qemu` prints the arguments for dracut",
    ),
    (
        "no dracut module of the initramfs can handle this root= argument",
        r"dracut: FATAL: Don't know how to handle 'root=|dracut: FATAL: No handler for netroot type",
        "add the module to `initramfs.modules`: dmsquash-live for discs, livenet for http, nfs for NFS",
    ),
    (
        "the image of the live system was changed, or is not the one that the boot arguments are for",
        r"dracut: FATAL: the image was changed",
        "compare the image with its DIGESTS, and copy image, kernel and boot menu of the same build together",
    ),
    (
        "the check of the medium failed: it was changed or written incompletely",
        r"dracut: FATAL: (Media|CD) check failed|(Media|CD) check failed!",
        "write the medium again, and compare it with its DIGESTS",
    ),
    (
        "dracut found the medium, but no image of a live system on it",
        r"dracut: FATAL: .*(Failed to mount block device of live image|cannot mount live image"
        r"|Failed to find a root filesystem in|: has no )",
        "compare rd.live.dir= and rd.live.squashimg= with the files of the medium",
    ),
    (
        "the web server cannot be reached or does not have the image",
        r"dracut: FATAL: .*(the web server|cannot be streamed|redirected to|cannot be connected)",
        "check the address in the boot arguments, and the log of `stagewright netboot serve`",
    ),
    (
        "the machine has less memory than its start needs",
        r"stagewright: not enough memory: ",
        "raise `memory` of the test, or use a method that needs less memory (docs/netboot.md)",
    ),
    (
        "dracut stopped the boot",
        r"dracut: FATAL|dracut: Refusing to continue",
        "the line says why; rd.debug in `kernel_arguments.extra` shows every command",
    ),
    (
        "dracut opened its emergency shell",
        r"^dracut:/#",
        "the warnings above name the device that did not appear; `initramfs.drivers` must have the driver of it",
    ),
    final=True,
)

_DRACUT = rows(
    Part.INITRAMFS,
    (
        "the root device did not appear",
        r"Warning: \"?/dev/\S+\"? does not exist|Timed out waiting for device|Warning: Not all disks have been found"
        r"|Warning: Could not boot|dracut Warning: Boot has failed",
        "compare root= with the label of the medium; add the driver of the disk to `initramfs.drivers`",
    ),
    (
        "dracut waited in vain for a device or for the network",
        r"dracut-initqueue: (timeout|starting timeout scripts)",
        "compare root= with the label of the medium; add the driver of the disk to `initramfs.drivers`",
    ),
    (
        "the live image could not be downloaded",
        r"failed to download live image|Downloading '.*' failed|failed to get .* header from live image",
        "check the address in the boot arguments, and the log of `stagewright netboot serve`",
    ),
    (
        "the network card got no address",
        r"dhcp for interface \S+ failed|No carrier detected on interface|Could not bring interface \S+ up",
        "check the DHCP server; add the driver of the network card to `initramfs.drivers`",
    ),
    (
        "the initramfs found no init in the root",
        r"Cannot find init!|switch_root: can't execute|switch_root: failed",
        "check that the root has /sbin/init",
    ),
)

_FINAL_GENKERNEL = rows(
    Part.INITRAMFS,
    (
        "genkernel did not find the root device or medium, and asks for another one",
        r"^!! Could not find the .+ in |Block device \S+ is not a valid root device",
        "compare root=, real_root= or cdroot with the medium; the kernel must have the driver of the disk",
    ),
    (
        "genkernel opened its rescue shell",
        r"Welcome to .*rescue shell|Failing back to the shell",
        "the lines with !! above say why",
    ),
    final=True,
)

_GENKERNEL = rows(
    Part.INITRAMFS,
    (
        "genkernel did not find the medium",
        r"Media not found",
        "the kernel must have the driver of the disc or stick",
    ),
    (
        "genkernel could not load the image or a driver",
        r"Invalid loop location: |Unable to insert module: |Failed to cache the loop file",
        "compare loop= with the files of the medium; docache needs memory for the whole image",
    ),
)

INITRAMFS = (*_FINAL_DRACUT, *_FINAL_GENKERNEL, *_DRACUT, *_GENKERNEL)
"""Failures in the initramfs."""
