"""Failures that the kernel reports, apart from those of disks and file systems."""

from __future__ import annotations

from stagewright.vm.failures import Part, rows

_PANICS = rows(
    Part.KERNEL,
    (
        "the kernel panicked: it got no initramfs, and has no driver for the root device",
        r"Kernel panic - not syncing: VFS: Unable to mount root fs on (unknown-block\(0,0\)|\"\")",
        'check the initrd line of the boot menu, and look above for "Initramfs unpacking failed"',
    ),
    (
        "the kernel panicked: it cannot read the root file system",
        r"Kernel panic - not syncing: VFS: Unable to mount root fs",
        "add the driver of the file system to the kernel or to `initramfs.drivers`",
    ),
    (
        "the kernel panicked: the root has no init that can be executed",
        r"Kernel panic - not syncing: No working init found|Kernel panic - not syncing: Requested init \S+ failed",
        "check that the root has /sbin/init and the libraries of it, for the architecture of the machine",
    ),
    (
        "the kernel panicked because process 1 ended",
        r"Kernel panic - not syncing: Attempted to kill init",
        "the lines above have the last words of the init",
    ),
    (
        "the kernel panicked: the memory is full",
        r"Kernel panic - not syncing: (System is deadlocked on memory|Out of memory)"
        r"|Out of memory and no killable processes",
        "raise `memory` of the test, or use a method that needs less memory (docs/netboot.md)",
    ),
    (
        "the kernel panicked in the timer check: the emulator was too slow",
        r"Kernel panic - not syncing: IO-APIC \+ timer doesn't work",
        "add no_timer_check to `kernel_arguments.extra` of the medium",
    ),
    (
        "the kernel panicked",
        r"Kernel panic - not syncing",
        'the lines above it, up to "cut here", say in which function',
    ),
    final=True,
)

_MEMORY = rows(
    Part.KERNEL,
    (
        "the initramfs did not fit into the memory",
        r"Initramfs unpacking failed: write error",
        "raise `memory` of the test, or use a method that needs less memory (docs/netboot.md)",
    ),
    (
        "the initramfs is damaged, or an archive was appended at an offset that is not a multiple of four",
        r"Initramfs unpacking failed: (invalid magic|junk|no cpio magic|broken padding)",
        "pad the first archive with zero bytes to a multiple of four before appending",
    ),
    (
        "the kernel could not unpack the initramfs",
        r"Initramfs unpacking failed|rootfs image is not initramfs",
        "compare the file with its digest; check that the kernel knows its compression",
    ),
    (
        "the kernel could not start the first program of the initramfs",
        r"Failed to execute /init \(error -\d+\)",
        "check that the initramfs has /init, a shell and its libraries",
    ),
    (
        "the memory was full, and the kernel killed a process",
        r"Out of memory: Kill|Memory cgroup out of memory: Kill|invoked oom-killer",
        "raise `memory` of the test",
    ),
    (
        "the kernel could not allocate memory",
        r"page allocation failure|SLUB: Unable to allocate memory",
        "raise `memory` of the test",
    ),
)

_BUGS = rows(
    Part.KERNEL,
    (
        "the kernel crashed (oops)",
        r"\bOops: |BUG: (unable to handle|kernel NULL pointer)|kernel BUG at|Unable to handle kernel"
        r"|general protection fault(?!.* ip:)",
        "the call trace below the line names the function; try another version of the kernel",
    ),
    (
        "a check in the kernel failed (warning)",
        r"WARNING: (CPU: \d+ PID: \d+ at |\S+:\d+ at )",
        "the line names the source file; search for it in the bug tracker of the kernel",
    ),
    (
        "a sanitizer of the kernel found an error",
        r"BUG: (KASAN|KFENCE|KCSAN|KMSAN): |UBSAN: ",
        "the line names the function; search for it in the bug tracker of the kernel",
    ),
    (
        "a processor of the machine was stuck",
        r"BUG: soft lockup|hard LOCKUP|rcu: INFO: rcu\w* (self-)?detected|detected stalls on CPUs",
        "the host was too busy: run fewer builds at the same time (--jobs, --cores)",
    ),
    (
        "a process waited for more than two minutes",
        r"INFO: task \S+ blocked for more than \d+ seconds",
        "the host was too busy, or a disk or server did not answer",
    ),
    (
        "the kernel found an error in its lists of locks or memory",
        r"BUG: (Bad (page|rss)|workqueue lockup|scheduling while atomic|sleeping function)"
        r"|possible (\S+ )?(deadlock|locking dependency) detected",
        "the lines below the line name the functions; try another version of the kernel",
    ),
)

_MODULES = rows(
    Part.KERNEL,
    (
        "a module of the kernel is not there",
        r"modprobe: FATAL: Module \S+ not found|modprobe: module \S+ not found|Failed to find module '",
        "add the module to `initramfs.drivers` or to the kernel of the root",
    ),
    (
        "a module belongs to another build of the kernel",
        r"version magic '.*' should be '|disagrees about version of symbol|: Unknown symbol \w+ \(err",
        "build the modules again with this kernel",
    ),
    (
        "the kernel refused a module, because its signature is missing or by an unknown key",
        r"Loading of (unsigned module|module with unavailable key) is rejected"
        r"|Lockdown: .*unsigned module loading is restricted",
        "sign the modules with the key of the kernel",
    ),
    (
        "a driver found no firmware file for its device",
        r"Direct firmware load for \S+ failed|firmware: failed to load \S+",
        "add the package with this file, such as sys-kernel/linux-firmware",
    ),
    (
        "a driver could not use its device",
        r": probe (of \S+|with driver \S+) failed with error -\d+",
        "the number is the negative error code of errno(3)",
    ),
    (
        "the security module of the kernel denied an access",
        r"avc: +denied +\{|apparmor=\"DENIED\"",
        "correct the policy, or label the files of the root",
    ),
)

_TRACES = rows(
    Part.KERNEL,
    ("the kernel printed a call trace", r"(^|\] )Call [Tt]race:", "the lines above it say why"),
    once=True,
)

KERNEL = (*_PANICS, *_MEMORY, *_BUGS, *_MODULES, *_TRACES)
"""Failures of the kernel."""
