"""The system calls that commands in a root may not make, as a filter of seccomp(2).

The filter allows what it does not list. Listed are calls that reach what namespaces do not separate (keys of the
kernel, its log, clocks, modules), that are large and that builds do not need (bpf, perf, io_uring), or that change
mounts and namespaces. It covers the 32-bit calls of a 64-bit machine too. Programs for another architecture run in
QEMU, which makes calls of this machine.
"""

from __future__ import annotations

import errno
import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from stagewright.errors import Reason, StagewrightError

REFUSED = (
    *("acct", "add_key", "bpf", "clock_settime", "delete_module", "finit_module", "fsconfig", "fsmount", "fsopen"),
    *("fspick", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl", "mount", "mount_setattr"),
    *("move_mount", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root"),
    *(
        "process_vm_readv",
        "process_vm_writev",
        "quotactl",
        "quotactl_fd",
        "reboot",
        "request_key",
        "setns",
        "settimeofday",
        "swapoff",
    ),
    *("swapon", "syslog", "umount", "umount2", "uselib", "userfaultfd", "vm86", "vm86old"),
)
"""Calls that fail with EPERM."""

RECENT = ("mount_setattr", "quotactl_fd")
"""Calls that libseccomp knows from 2.5.2 on. They need a right that no command has, so older ones leave them out."""

ABSENT = ("clone3", "io_uring_enter", "io_uring_register", "io_uring_setup")
"""Calls that fail with ENOSYS. Programs then use older ones; the flags of clone3(2) cannot be filtered."""

NEW_USER_NAMESPACE = 0x10000000
"""CLONE_NEWUSER of clone(2): in a new user namespace a process would get all capabilities."""

TERMINAL_REQUESTS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX of ioctl(2): they type into a terminal."""

TRACING = (16, 0x4206)
"""PTRACE_ATTACH and PTRACE_SEIZE of ptrace(2). A debugger can still start a program."""

FAMILIES = (1, 2, 10, 16)
"""Sockets that programs can open: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (address_families(7))."""

ALL_FAMILIES = 64
"""A number above all families of the kernel."""

DEVICE_OPTIONS = (25, 62)
"""SO_BINDTODEVICE and SO_BINDTOIFINDEX of socket(7): they send past all routes."""

AUDIT = (16, 9)
"""Family and protocol of the audit system. Refused as in a kernel without it, so that PAM does not fail."""

_INT = 0xFFFFFFFF
_QUERY = 0x80000000
_ZERO_PAGE = 0x0100000


@contextmanager
def filter_file() -> Iterator[int]:
    """Yield a descriptor from which one program can read the filter.

    Raises: MISSING_TOOL if libseccomp is not installed; HOST_FEATURE if it does not support this machine.
    """
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, compiled())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@functools.cache
def compiled() -> bytes:
    """Return the filter as a program of classic BPF. Raises as :func:`filter_file`."""
    library = _library()
    try:
        rules = library.SyscallFilter(library.ALLOW)
        for other in _other_architectures(library):
            if not rules.exist_arch(other):
                rules.add_arch(other)
        rules.set_attr(library.Attr.ACT_BADARCH, library.ERRNO(errno.ENOSYS))
        _add(rules, library)
        with tempfile.TemporaryFile() as file:
            rules.export_bpf(file)
            file.seek(0)
            return file.read()
    except OSError as error:
        what = f"libseccomp: cannot compile the filter of system calls ({error})"
        raise StagewrightError(Reason.HOST_FEATURE, what, hint="use libseccomp 2.5 or later") from error


def _library() -> ModuleType:
    try:
        import pyseccomp  # noqa: PLC0415  it looks for libseccomp when it is imported
    except (ImportError, RuntimeError) as error:
        what = f"libseccomp: cannot be used ({error})"
        hint = "apt install libseccomp2, or emerge sys-libs/libseccomp; then pip install pyseccomp"
        raise StagewrightError(Reason.MISSING_TOOL, what, hint=hint) from error
    return pyseccomp  # type: ignore[no-any-return]


def _other_architectures(library: ModuleType) -> list[int]:
    """Return the other sets of calls that the kernel of this machine has."""
    pairs = {library.Arch.X86_64: [library.Arch.X86, library.Arch.X32], library.Arch.AARCH64: [library.Arch.ARM]}
    return pairs.get(library.system_arch(), [])


def _refused(library: ModuleType) -> Iterator[str]:
    """Yield the refused calls without recent ones that libseccomp does not know."""
    for call in REFUSED:
        if call not in RECENT or library.resolve_syscall(library.Arch.NATIVE, call) != -1:
            yield call


def _add(rules: object, library: ModuleType) -> None:
    """Add all rules. Arguments of the C type int are compared by 32 bits, because the kernel ignores the others."""

    def refuse(number: int, call: str, *arguments: object) -> None:
        rules.add_rule(library.ERRNO(number), call, *arguments)  # type: ignore[attr-defined]

    def equals(position: int, value: int, mask: int = _INT) -> object:
        return library.Arg(position, library.MASKED_EQ, mask, value)

    for call in _refused(library):
        refuse(errno.EPERM, call)
    for call in ABSENT:
        refuse(errno.ENOSYS, call)
    swapped = library.system_arch() in (library.Arch.S390, library.Arch.S390X)
    for call, position in (("clone", int(swapped)), ("unshare", 0)):  # clone(2) has its flags in another place there
        refuse(errno.EPERM, call, equals(position, NEW_USER_NAMESPACE, NEW_USER_NAMESPACE))
    for request in TERMINAL_REQUESTS:
        refuse(errno.EPERM, "ioctl", equals(1, request))
    for request in TRACING:
        refuse(errno.EPERM, "ptrace", equals(0, request))
    for option in DEVICE_OPTIONS:
        refuse(errno.EPERM, "setsockopt", equals(1, 1), equals(2, option))  # at the level SOL_SOCKET
    for family in sorted({*range(ALL_FAMILIES)} - {*FAMILIES}):
        refuse(errno.EAFNOSUPPORT, "socket", equals(0, family))
    refuse(errno.EPROTONOSUPPORT, "socket", equals(0, AUDIT[0]), equals(2, AUDIT[1]))
    refuse(errno.EPERM, "personality", equals(0, _ZERO_PAGE, _ZERO_PAGE | _QUERY))
