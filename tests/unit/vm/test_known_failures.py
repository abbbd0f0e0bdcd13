"""The tables of known failures: lines of real consoles, and whole consoles of healthy boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.vm.console_lines import Line, read_lines
from stagewright.vm.console_scan import scan
from stagewright.vm.failures import Failure, Part, first_in
from stagewright.vm.known_failures import FINAL_FAILURES, KNOWN_FAILURES

CONSOLES = Path(__file__).parents[2] / "data/consoles"

LINES = {
    "Secure Boot refused the program: it has no signature that the firmware accepts": [
        'BdsDxe: failed to load Boot0001 "UEFI QEMU QEMU CD-ROM " from PciRoot(0x0)/Pci(0x2,0x0): Access Denied',
        'BdsDxe: failed to load Boot0003 "UEFI PXEv4" from PciRoot(0x0)/Pci(0x3,0x0): Security Violation',
    ],
    "the firmware could not load a program from a boot device": [
        'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x4,0x0): Not Found'
    ],
    "the firmware found no bootable device": [
        "No bootable device.  Retrying in 60 seconds.",
        "BdsDxe: No bootable option or device was found.",
    ],
    "the firmware found no bootable device and opened its shell": ["Shell> ", "UEFI Interactive Shell v2.2"],
    "the firmware crashed": ["!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!"],
    "the BIOS found no boot code on a disk or disc": [
        "Boot failed: not a bootable disk",
        "Boot failed: Could not read from CDROM (code 0009)",
    ],
    "the firmware got no address or no boot file from the network": [
        "PXE-E18: Server response timeout.",
        "PXE-T01: File not found",
    ],
    "GRUB found no configuration, or none of its entries started": ["grub> ", "grub rescue> "],
    "the kernel is for another processor": [
        "This kernel requires an x86-64 CPU, but only detected an i686 CPU.",
        "Unable to boot - please use a kernel appropriate for your CPU.",
    ],
    "the kernel image is damaged or too large for the memory of the machine": [" -- System halted"],
    "iPXE could not load a file": [
        "http://10.0.2.2/boot.ipxe... No such file or directory (http://ipxe.org/2d0c618e)",
        "Could not boot: Error 0x7f8d8101 (https://ipxe.org/7f8d8101)",
    ],
    "iPXE got no address: no DHCP server answered": [
        "No configuration methods succeeded (http://ipxe.org/040ee119)",
        "No more network devices",
    ],
    "GRUB refused a file: Secure Boot accepts only signed ones": [
        "error: bad shim signature.",
        "error: /boot/gentoo has invalid signature: prohibited by secure boot policy.",
    ],
    "GRUB has too little memory for kernel and initramfs": ["error: out of memory."],
    "the machine has less memory than the method of the boot script or menu needs": [
        "Not enough memory: this machine has 128 MiB and needs 256 MiB for the method http",
        "Not enough memory: this machine has 131071 KiB, and this entry needs 256 MiB",
    ],
    "the machine has less memory than its start needs": [
        "[   22.3] stagewright: not enough memory: this machine has 176 MiB and needs 192 MiB; no way to"
    ],
    "GRUB could not load a file or find a device": [
        "error: file `/boot/gentoo' not found.",
        "error: no such device: LIVE.",
        "error: you need to load the kernel first.",
    ],
    "SYSLINUX could not load one of its files or the kernel": [
        "Could not find kernel image: gentoo",
        "Failed to load ldlinux.c32",
        "isolinux.bin missing or corrupt.",
    ],
    "systemd-boot could not start an entry": [
        "Error loading \\boot\\gentoo: Not found",
        "Error preparing initrd: Not found",
        "Failed to execute Gentoo (\\EFI\\Linux\\gentoo.efi): Access denied",
    ],
    "the EFI stub of the kernel could not load the initramfs": [
        "EFI stub: ERROR: Failed to handle fs_proto",
        "EFI stub: ERROR: Failed to load initrd: 0x8000000000000009",
    ],
    "the kernel panicked: it got no initramfs, and has no driver for the root device": [
        "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
    ],
    "the kernel panicked: it cannot read the root file system": [
        "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(8,2)"
    ],
    "the kernel panicked: the root has no init that can be executed": [
        "Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.",
        "Kernel panic - not syncing: Requested init /sbin/initt failed (error -2).",
    ],
    "the kernel panicked because process 1 ended": [
        "[    3.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"
    ],
    "the kernel panicked: the memory is full": [
        "Kernel panic - not syncing: System is deadlocked on memory",
        "[    2.1] Out of memory and no killable processes...",
    ],
    "the kernel panicked in the timer check: the emulator was too slow": [
        "[    0.05] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug"
    ],
    "the kernel panicked": ["[    9.1] Kernel panic - not syncing: Fatal exception in interrupt"],
    "the initramfs did not fit into the memory": ["[    1.9] Initramfs unpacking failed: write error"],
    "the initramfs is damaged, or an archive was appended at an offset that is not a multiple of four": [
        "[    2.1] Initramfs unpacking failed: invalid magic at start of compressed archive",
        "[    2.1] Initramfs unpacking failed: junk within compressed archive",
    ],
    "the kernel could not unpack the initramfs": [
        "[    2.1] Initramfs unpacking failed: ZSTD-compressed data is corrupt",
        "[    1.1] rootfs image is not initramfs (no cpio magic); looks like an initrd",
    ],
    "the kernel could not start the first program of the initramfs": [
        "[    2.2] Failed to execute /init (error -2)",
    ],
    "the memory was full, and the kernel killed a process": [
        "[   31.0] Out of memory: Killed process 431 (emerge) total-vm:1011200kB, anon-rss:700000kB",
        "[   31.0] systemd invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0",
    ],
    "the kernel could not allocate memory": [
        "[   20.1] kworker/u4:1: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)"
    ],
    "the kernel crashed (oops)": [
        "[   12.3] BUG: unable to handle page fault for address: ffffffffc0a01000",
        "[   12.3] Oops: 0000 [#1] PREEMPT SMP NOPTI",
        "[   12.3] kernel BUG at mm/slub.c:379!",
        "[   12.3] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
        "[   12.3] general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
    ],
    "a check in the kernel failed (warning)": [
        "[    0.2] WARNING: CPU: 0 PID: 1 at arch/x86/kernel/fpu/xstate.c:860 do_xstate_init+0x1f/0x60",
        "[    5.1] WARNING: fs/namespace.c:1250 at cleanup_mnt+0x10/0x20, CPU#1: umount/612",
    ],
    "a sanitizer of the kernel found an error": [
        "[    7.7] BUG: KASAN: slab-use-after-free in nbd_open+0x1d/0x60",
        "[    7.7] UBSAN: array-index-out-of-bounds in drivers/ata/libata-core.c:12:3",
    ],
    "a processor of the machine was stuck": [
        "[   52.1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [swapper/1:0]",
        "[   60.3] rcu: INFO: rcu_preempt self-detected stall on CPU",
    ],
    "a process waited for more than two minutes": ["[  242.9] INFO: task mount:512 blocked for more than 120 seconds."],
    "the kernel found an error in its lists of locks or memory": [
        "[   11.0] BUG: Bad page state in process swapper  pfn:3e600",
        "[   11.0] WARNING: possible circular locking dependency detected",
    ],
    "a module of the kernel is not there": [
        "modprobe: FATAL: Module squashfs not found in directory /lib/modules/6.18.1-gentoo",
        "systemd-modules-load[211]: Failed to find module 'nbd'",
    ],
    "a module belongs to another build of the kernel": [
        "[    4.0] zfs: version magic '6.18.0-gentoo SMP' should be '6.18.1-gentoo SMP'",
        "[    4.0] spl: disagrees about version of symbol module_layout",
    ],
    "the kernel refused a module, because its signature is missing or by an unknown key": [
        "[    4.1] Loading of unsigned module is rejected",
        "[    4.1] Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
    ],
    "a driver found no firmware file for its device": [
        "[    6.0] iwlwifi 0000:02:00.0: Direct firmware load for iwlwifi-7265D-29.ucode failed with error -2"
    ],
    "a driver could not use its device": [
        "[    3.3] virtio_net: probe of virtio1 failed with error -22",
        "[    3.3] virtio_net virtio1: probe with driver virtio_net failed with error -22",
    ],
    "the security module of the kernel denied an access": [
        'audit: type=1400 audit(1700000000.1:2): avc:  denied  { read } for  pid=1 comm="systemd"'
    ],
    "the kernel printed a call trace": ["[   12.4] Call Trace:"],
    "the image was changed, or is not the one that the boot arguments are for": [
        "[   30.1] stagewright: the image was changed: data block 17 does not match the boot arguments"
    ],
    "dm-verity found a changed block": ["[   30.1] device-mapper: verity: 254:0: data block 17 is corrupted"],
    "dm-verity could not open a device": [
        "[   15.0] device-mapper: table: 254:0: verity: Data device lookup failed (-ENODEV)"
    ],
    "an encrypted device was not opened": ["No key available with this passphrase."],
    "a disk or server returned a read or write error": [
        "[   18.0] I/O error, dev sr0, sector 164032 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
        "[   18.0] Buffer I/O error on dev loop0, logical block 12, async page read",
        "[   18.0] sd 2:0:0:0: rejecting I/O to offline device",
    ],
    "the connection to a network block device ended": ["[   40.0] block nbd0: Receive control failed (result -104)"],
    "a disk did not answer in time": [
        "[   33.0] ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen",
        "[   33.0] ata1.00: failed command: READ DMA",
    ],
    "an NFS server did not answer or refused": [
        "[   90.0] nfs: server 10.0.2.2 not responding, still trying",
        "mount.nfs: access denied by server while mounting 10.0.2.2:/set",
    ],
    "ext4 found an error in the file system": [
        "[    9.0] EXT4-fs error (device vda2): ext4_lookup:1785: inode #2: comm init: deleted inode referenced: 12",
        "[    9.0] EXT4-fs (vda2): Delayed block allocation failed for inode 14 at logical offset 0 with max blocks 2",
        "[    9.0] JBD2: Error -5 detected when updating journal superblock for vda2-8.",
    ],
    "Btrfs found an error in the file system": [
        "[    9.0] BTRFS error (device vda2): bad tree block start, want 30408704 have 0",
        "[    9.0] BTRFS critical (device vda2): corrupt leaf: root=5 block=30408704 slot=3",
    ],
    "XFS found an error in the file system": [
        "[    9.0] XFS (vda2): Metadata CRC error detected at xfs_agf_read_verify+0xc2/0xe0 [xfs], xfs_agf block 0x1"
    ],
    "the squashfs image is damaged or incomplete": [
        "[   24.0] SQUASHFS error: zstd decompression failed, data probably corrupt"
    ],
    "the file system of a disc, stick or image is damaged": [
        "[   10.0] FAT-fs (vda1): bogus number of reserved sectors",
        "[   10.0] ISOFS: Unable to identify CD-ROM format.",
    ],
    "a file system could not be mounted: the kernel does not know its type": [
        "mount: /run/initramfs/live: unknown filesystem type 'iso9660'.",
        "mount: /sysroot: wrong fs type, bad option, bad superblock on /dev/loop1, missing codepage",
    ],
    "an overlay could not be mounted": [
        "[   25.0] overlayfs: failed to resolve '/run/overlayfs': -2",
        "[   25.0] overlayfs: filesystem on '/run/overlayfs' not supported as upperdir",
    ],
    "a file system needs a check by a person": [
        "/dev/vda2: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.",
    ],
    "a file system is full": ["cp: error writing '/var/tmp/x': No space left on device"],
    "dracut got no root= argument": ["[    8.9] dracut: FATAL: No or empty root= argument"],
    "no dracut module of the initramfs can handle this root= argument": [
        "[    8.9] dracut: FATAL: Don't know how to handle 'root=live:/image.squashfs.img'"
    ],
    "the image of the live system was changed, or is not the one that the boot arguments are for": [
        "dracut: FATAL: the image was changed: it does not match rd.stagewright.verity="
    ],
    "the check of the medium failed: it was changed or written incompletely": [
        "dracut: FATAL: CD check failed!",
        "dracut Warning: Media check failed! We do not recommend using this medium. System will halt in 12 hours",
    ],
    "dracut found the medium, but no image of a live system on it": [
        "dracut: FATAL: Failed to find a root filesystem in /run/initramfs/live/LiveOS/squashfs.img.",
        "dracut: FATAL: /dev/sr0: has no LiveOS/squashfs.img",
    ],
    "the web server cannot be reached or does not have the image": [
        "dracut: FATAL: http://10.0.2.2/image.squashfs: the web server answers 404: check the address and the file",
        "dracut: FATAL: http://10.0.2.2/image.squashfs: the web server cannot be reached",
    ],
    "dracut stopped the boot": ["dracut: FATAL: FIPS integrity test failed", "dracut: Refusing to continue"],
    "dracut opened its emergency shell": ["dracut:/# "],
    "the root device did not appear": [
        "dracut Warning: /dev/disk/by-label/LIVE does not exist",
        "[  OK  ] dracut-initqueue[312]: Warning: /dev/disk/by-label/LIVE does not exist",
        "[ TIME ] Timed out waiting for device /dev/disk/by-label/LIVE.",
        "Warning: Could not boot.",
    ],
    "dracut waited in vain for a device or for the network": [
        "dracut-initqueue[312]: Warning: dracut-initqueue: timeout, still waiting for following initqueue hooks:",
        "dracut Warning: dracut-initqueue: starting timeout scripts",
    ],
    "the live image could not be downloaded": [
        "dracut Warning: failed to download live image: error 22",
        "dracut Warning: Downloading 'http://10.0.2.2/image.squashfs' failed!",
    ],
    "the network card got no address": [
        "dracut Warning: dhcp for interface eth0 failed",
        "dracut-initqueue[300]: Warning: No carrier detected on interface enp1s0",
    ],
    "the initramfs found no init in the root": [
        "Cannot find init!",
        "switch_root: can't execute '/sbin/init': No such file or directory",
    ],
    "genkernel did not find the root device or medium, and asks for another one": [
        "!! Could not find the root block device in .",
        "!! Block device /dev/sda3 is not a valid root device ...",
    ],
    "genkernel opened its rescue shell": ["Welcome to Genkernel 4.3.16 (2025-01-02 10:11:12 UTC) rescue shell!"],
    "genkernel did not find the medium": ["!! Media not found"],
    "genkernel could not load the image or a driver": ["!! Invalid loop location: /image.squashfs"],
    "the boot ended in emergency mode": [
        'You are in emergency mode. After logging in, type "journalctl -xb" to view',
        "Entering emergency mode. Exit the shell to continue.",
        "[  OK  ] Reached target emergency.target - Emergency Mode.\rPress Enter for emergency shell or wait 5 minutes",
    ],
    "the boot ended in a maintenance shell": [
        "Press Enter for maintenance",
        "Give root password for maintenance",
    ],
    "the init failed": [
        "[!!!!!!] Failed to mount API filesystems. Freezing execution.",
        "systemd[1]: Caught <SEGV>, dumped core as pid 71.",
    ],
    "a device did not appear for a unit": [
        "[ TIME ] Timed out waiting for the socket of a service.",
    ],
    "a unit failed": [
        "[FAILED] Failed to start sshd.service - OpenSSH server daemon.",
        "[FAILED] Failed to mount /boot.",
        "systemd[1]: Failed to start sshd.service - OpenSSH server daemon.",
        "sshd.service: Failed with result 'exit-code'.",
    ],
    "a unit was not started, because one that it needs failed": [
        "[DEPEND] Dependency failed for local-fs.target - Local File Systems."
    ],
    "systemd removed a unit from the boot, because units wait for each other in a circle": [
        "systemd[1]: multi-user.target: Found ordering cycle on a.service/start"
    ],
    "a unit ended too often and is not started again": [
        "systemd[1]: serial-getty@ttyS0.service: Start request repeated too quickly."
    ],
    "a generator of systemd failed": [
        "systemd[1]: /lib/systemd/system-generators/systemd-gpt-auto-generator failed with exit status 1."
    ],
    "a service of OpenRC failed": [
        " * ERROR: sshd failed to start",
        " * ERROR: cannot start netmount as net.eth0 would not start",
        " * ERROR: foo needs service(s) bar",
    ],
    "a step of OpenRC failed": [" * Mounting local filesystems ...                                    [ !! ]"],
    "a terminal of inittab ends again and again": [
        'INIT: Id "s0" respawning too fast: disabled for 5 minutes',
        "agetty[512]: /dev/ttyS1: cannot open as standard input: No such file or directory",
    ],
    "the init found no table or no program": [
        "INIT: No inittab file found",
        "can't run '/sbin/openrc': No such file or directory",
        "can't open /dev/tty3: No such file or directory",
    ],
    "a program crashed": [
        "[   41.2] greet[612]: segfault at 0 ip 0000000000401136 sp 00007ffd0c0 error 4 in greet[401000+1000]",
        "[   41.2] traps: python3[77] general protection fault ip:7f1 sp:7ffc error:0 in libc.so.6[7f2+1000]",
        "sshd.service: Main process exited, code=dumped, status=11/SEGV",
        "Segmentation fault (core dumped)",
    ],
    "a program in Python ended with an exception": ["Traceback (most recent call last):"],
    "a program in Go or Rust ended with a panic": [
        "panic: runtime error: invalid memory address or nil pointer dereference",
        "thread 'main' panicked at src/main.rs:4:5:",
    ],
    "a program does not find a library": [
        "/sbin/init: error while loading shared libraries: libsystemd-core-257.so: cannot open shared object file"
    ],
}
"""Lines of real consoles, by the meaning that they must get."""


@pytest.mark.parametrize(("meaning", "line"), [(meaning, line) for meaning, some in LINES.items() for line in some])
def test_a_line_gets_its_meaning(meaning: str, line: str) -> None:
    found = first_in(KNOWN_FAILURES, line)
    assert found is not None
    assert found.meaning == meaning


def test_every_row_has_a_line_and_a_hint() -> None:
    assert {failure.meaning for failure in KNOWN_FAILURES} == LINES.keys()
    assert [failure.meaning for failure in KNOWN_FAILURES if not failure.hint] == []


@pytest.mark.parametrize("name", ["iso-uefi", "network", "systemd-container"])
def test_the_console_of_a_healthy_boot_has_no_failure(name: str) -> None:
    lines = list(read_lines((CONSOLES / f"{name}.timed.log").read_text(encoding="utf-8")))
    assert len(lines) > 100
    assert scan(lines, KNOWN_FAILURES).findings == ()


def test_final_failures_are_those_that_a_guest_cannot_leave() -> None:
    parts = {part: sum(failure.part is part for failure in FINAL_FAILURES) for part in Part}
    assert parts[Part.PROGRAM] == parts[Part.STORAGE] == 0
    assert first_in(FINAL_FAILURES, "Kernel panic - not syncing: Fatal exception")
    assert not first_in(FINAL_FAILURES, "[FAILED] Failed to start sshd.service - OpenSSH server daemon.")


def lines_of(*texts: str) -> list[Line]:
    return [Line(number, number / 10, text) for number, text in enumerate(texts, 1)]


def test_a_finding_has_line_time_meaning_and_count() -> None:
    error = "[   18.{}] I/O error, dev sr0, sector 164032"
    found = scan(lines_of("hello", error.format(1), "between", error.format(2)), KNOWN_FAILURES)
    (finding,) = found.findings
    assert (finding.line, finding.seconds, finding.count) == (2, 0.2, 2)
    assert finding.text == "I/O error, dev sr0, sector 164032"
    assert str(finding).startswith("line 2, 0.2 s: I/O error, dev sr0, sector 164032 (2 times): a disk or server")


def test_a_trace_after_an_error_is_no_further_finding() -> None:
    oops, trace = "[ 12.3] Oops: 0000 [#1] SMP", "[ 12.4] Call Trace:"
    assert len(scan(lines_of(oops, "registers", trace), KNOWN_FAILURES).findings) == 1
    assert len(scan(lines_of(trace), KNOWN_FAILURES).findings) == 1
    assert len(scan(lines_of(oops, *["line"] * 40, trace), KNOWN_FAILURES).findings) == 2


def test_a_line_that_the_test_waits_for_or_types_is_not_a_finding() -> None:
    typed = 'root# echo "swab24f535""<"; (eval \'dmesg | grep Oops: \'); echo "swab24f535"">$?;"'
    expected = "[   2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
    assert scan(lines_of(typed, expected), KNOWN_FAILURES, ["Unable to mount root"]).findings == ()


def test_messages_of_boot_loaders_count_only_before_the_kernel_runs() -> None:
    kernel, error, down = (
        "[    0.000000] Linux version 6.18",
        "error: no such device: LIVE.",
        "[ 9.1] reboot: Restarting",
    )
    assert len(scan(lines_of(error, kernel), KNOWN_FAILURES).findings) == 1
    assert scan(lines_of(kernel, error), KNOWN_FAILURES).findings == ()
    assert len(scan(lines_of(kernel, down, error), KNOWN_FAILURES).findings) == 1


def test_the_number_of_findings_has_a_limit() -> None:
    found = scan(lines_of(*(f"I/O error, dev sr0, sector {number}" for number in range(300))), KNOWN_FAILURES)
    assert (len(found.findings), found.dropped) == (200, 100)


def test_failures_of_a_project_come_first() -> None:
    own = Failure("the demo was not ready", r"demo: not ready \(I/O error, dev sr0", "wait longer")
    (finding,) = scan(lines_of("demo: not ready (I/O error, dev sr0)"), [own, *KNOWN_FAILURES]).findings
    assert (finding.meaning, finding.part) == ("the demo was not ready", "project")
