"""The sandbox: bubblewrap, the same for every command that runs inside a root.

A command gets a private minimal /dev, a /proc in which the settings of the machine are read-only, tmpfs on /run and
/tmp, and separate pid, ipc and uts namespaces. Only the fetch step has a network. The /dev of the host is never
visible, because a package could change the host's device nodes. See bwrap(1).
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from stagewright import ids
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import walk
from stagewright.id_ranges import SIZE
from stagewright.ids import commands_namespace
from stagewright.lazy_dataclass import dataclass
from stagewright.root.host_facts import CMDLINE
from stagewright.root.mountpoints import MountPoints
from stagewright.root.syscalls import filter_file
from stagewright.run import PATH, Result, paste, run

if TYPE_CHECKING:
    from stagewright.root.network import FetchNetwork

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""The only capabilities of root in a build (capabilities(7)): what Portage, ebuilds, dpkg and dracut use.

With CAP_DAC_READ_SEARCH, open_by_handle_at(2) would reach every file of a file system that has a mount in the root.
"""

READ_ONLY = ("bus", "driver", "fs", "irq", "mtrr", "pressure", "sys", "sysrq-trigger", "tty")
"""Parts of /proc that change the machine. uid 0 can write there without any capability."""

HIDDEN = (
    *("acpi", "asound", "iomem", "ioports", "kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup"),
    *("kpagecount", "kpageflags", "latency_stats", "pagetypeinfo", "sched_debug", "scsi", "slabinfo", "timer_list"),
    *("timer_stats", "vmallocinfo"),
)
"""Parts of /proc that show the memory, the log, the keys and the devices of the machine (proc(5))."""

PROGRAMS = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
)
"""Where programs of this machine are, and what the dynamic linker reads (ld.so(8))."""

CARDS, USB = "/run/pcscd", "/dev/bus/usb"
"""Where modules for tokens reach smart cards: the socket of pcscd(8), and USB devices."""

MOUNT_POINTS = ("/dev", "/proc", "/run", "/tmp")
"""Folders of a root that the sandbox mounts over."""


LOOKED_AT = 20_000
"""Number of entries of a folder of the user that are looked at before commands read it."""

_ENDING = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
)
"""Ends bwrap with its parent, whenever that is. A bwrap that is killed while it starts leaves a process for ever."""


@dataclass(frozen=True)
class Bind:
    """A folder or file of the host that is mounted inside a root."""

    source: Path
    target: str
    writable: bool = False
    whole: bool = False
    """True if commands need all files of a folder of the user: then its entries are checked, too
    (:func:`check_readable`). With other mounts, commands open only files whose names they know."""

    def arguments(self) -> list[str]:
        """Return the arguments of bwrap(1) for this mount."""
        return ["--bind" if self.writable else "--ro-bind", os.fspath(self.source), self.target]


class Sandboxed(NamedTuple):
    """A command line of the host, and the file descriptors that the command must inherit."""

    words: list[str]
    descriptors: tuple[int, ...]


def sandbox(
    root: Path,
    command: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
    system_calls: int,
    network: FetchNetwork | None = None,
    hostname: str = "stagewright",
    terminal: bool = False,
) -> list[str]:
    """Return the command line that runs ``command`` inside ``root``. ``terminal`` keeps the terminal of the caller.

    ``system_calls`` is the descriptor of the filter (:func:`stagewright.root.syscalls.filter_file`). The command must
    inherit it and the descriptor of ``network``. Makes missing mount points.

    Raises: BUILD_FAILED if a path of the root cannot be a mount point.
    """
    points = MountPoints(root)
    dev = points.add("/dev")
    words = ["nsenter", f"--net={network.namespace}", "--"] if network else []
    words += ["bwrap", "--bind", os.fspath(root), "/", "--dev", dev, "--perms", "1777", "--tmpfs", f"{dev}/shm"]
    words += proc_mounts(points.add("/proc"))
    words += ["--tmpfs", points.add("/run"), "--perms", "1777", "--tmpfs", points.add("/tmp")]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", hostname, "--die-with-parent"]
    words += command_limits(system_calls)
    words += [] if terminal else ["--new-session"]
    words += _network(network, points)
    for bind in binds:
        check_readable(bind.source, whole=bind.whole)
        target = points.add(bind.target, bind.source, writable=bind.writable)
        words += replace(bind, target=target).arguments()
    variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb", **(env or {})}
    words += ["--clearenv", "--chdir", "/"]
    for name, value in variables.items():
        words += ["--setenv", name, value]
    return [*words, "--", *command]


def _network(network: FetchNetwork | None, points: MountPoints) -> list[str]:
    """Return the options of bwrap(1) for the network, or for a namespace without one."""
    if network is None:
        return ["--unshare-net"]
    place = points.add("/etc/resolv.conf", Path("/dev/null"))
    return ["--perms", "0644", "--ro-bind-data", str(network.resolv_conf), place]


def proc_mounts(place: str) -> list[str]:
    """Return the options of bwrap(1) for a /proc that neither changes nor shows the machine."""
    words = ["--proc", place, "--ro-bind", os.fspath(CMDLINE), f"{place}/cmdline"]
    for name in READ_ONLY:
        words += ["--ro-bind-try", f"/proc/{name}", f"{place}/{name}"]
    for name in HIDDEN:
        path = Path("/proc", name)
        if path.is_dir():
            words += ["--tmpfs", f"{place}/{name}", "--remount-ro", f"{place}/{name}"]
        elif path.exists():
            words += ["--ro-bind", "/dev/null", f"{place}/{name}"]  # cannot be opened: mounts have the option nodev
    return words


@contextmanager
def unpacker(target: Path, inside: str, command: Sequence[str], *, binds: Sequence[Bind] = ()) -> Iterator[Sandboxed]:
    """Yield the command that unpacks an untrusted archive: no network, and only the target is writable.

    It sees the programs of this machine and its own input, but no other files, sockets, devices and processes.
    """
    with filter_file() as system_calls:
        words = [*_closed([*binds, Bind(target, inside, writable=True)]), *command_limits(system_calls)]
        yield Sandboxed([*words, "--", *command], (system_calls,))


@contextmanager
def host_program(
    command: Sequence[str | Path],
    *,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    own_ids: bool = False,
    token: bool = False,
) -> Iterator[Sandboxed]:
    """Yield the command that runs a program of this machine on files that others wrote, as :func:`unpacker` does.

    It sees the given files and folders, absolute paths, at the same places, and can change ``writes`` only. With
    ``own_ids`` it has the ids of this process, and can read files that belong to the user alone, such as keys. With
    ``token`` it also sees all files outside of /run and /tmp, and reaches smart cards. An ordinary user whose kernel
    has no user namespaces runs the program without a sandbox, and with no other rights.
    """
    words = [os.fspath(word) for word in command]
    if not _can_confine():
        yield Sandboxed(words, ())
        return
    for path in () if own_ids else reads:
        check_readable(path, whole=True)
    binds = [*(Bind(path, str(path)) for path in reads), *(Bind(path, str(path), writable=True) for path in writes)]
    with filter_file() as system_calls:
        limits = (
            command_limits(system_calls, own_ids=own_ids) if os.geteuid() == 0 else ["--seccomp", str(system_calls)]
        )
        sandboxed = [*_ENDING, *_closed(binds, token=token), *limits, "--", *words]
        try:
            yield Sandboxed(sandboxed if os.geteuid() == 0 else sandboxed[len(_ENDING) :], (system_calls,))
        except StagewrightError as error:
            raise _without_sandbox(error, words) from error


def run_host_program(
    command: Sequence[str | Path],
    *,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    own_ids: bool = False,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    log: IO[str] | None = None,
    check: bool = True,
) -> Result:
    """Run the command of :func:`host_program` to its end, as :func:`stagewright.run.run` does."""
    with host_program(command, reads=reads, writes=writes, own_ids=own_ids) as sandboxed:
        return run(sandboxed.words, env=env, stdin=stdin, log=log, check=check, pass_fds=sandboxed.descriptors)


def _without_sandbox(error: StagewrightError, words: Sequence[str]) -> StagewrightError:
    """Return the error of a program without the sandbox around it. The log has the complete command line."""
    name, _, why = error.message.partition(": ")
    if error.reason is not Reason.COMMAND_FAILED or name not in ("bwrap", _ENDING[0]):
        return error
    detail = f"  (in a sandbox) $ {paste(words)}\n{error.detail.partition(chr(10))[2]}"
    return StagewrightError(error.reason, f"{Path(words[0]).name}: {why}", detail=detail, hint=error.hint)


@functools.cache
def _can_confine() -> bool:
    """True if bwrap(1) works for this user. root always uses it."""
    if os.geteuid() == 0:
        return True
    try:
        return run([*_closed([]), "--", "true"], check=False).code == 0
    except StagewrightError:
        return False


def _closed(binds: Sequence[Bind], *, token: bool = False) -> list[str]:
    """Return the command of bwrap(1) for programs of this machine that see no other files than those of ``binds``.

    With ``token`` they also see all files outside of /run and /tmp, the service of smart cards, and USB devices.
    """
    words = ["bwrap", *(["--ro-bind", "/", "/"] if token else program_mounts())]
    words += ["--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp"]
    if token:
        words += ["--tmpfs", "/run", "--ro-bind-try", CARDS, CARDS, "--dev-bind-try", USB, USB]
    for bind in binds:
        words += bind.arguments()
    return [
        *words,
        "--unshare-net",
        "--unshare-pid",
        "--unshare-ipc",
        "--new-session",
        "--die-with-parent",
        "--chdir",
        "/",
    ]


def program_mounts() -> list[str]:
    """Return the arguments of bwrap(1) for the programs of this machine and their libraries, read-only."""
    words = []
    for name in PROGRAMS:
        if (path := Path(name)).is_symlink():
            words += ["--symlink", os.readlink(path), name]  # noqa: PTH115
        else:
            words += ["--ro-bind-try", name, name]
    return words


def command_limits(system_calls: int, *, own_ids: bool = False) -> list[str]:
    """Return the options of bwrap(1) that limit what a command may ask of the kernel."""
    capabilities = [word for name in CAPABILITIES for word in ("--cap-add", name)]
    return [*([] if own_ids else commands_ids()), "--cap-drop", "ALL", *capabilities, "--seccomp", str(system_calls)]


def signer(out: Path, inside: str, command: Sequence[str], *, binds: Sequence[Bind] = ()) -> list[str]:
    """Return the command line that runs a program of the host with a secret: no network, and only ``out`` is writable.

    /run and /tmp are in memory. Daemons that the program starts, such as gpg-agent, end with it.
    """
    words = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--tmpfs", "/tmp"]
    for bind in (*binds, Bind(out, inside, writable=True)):
        words += bind.arguments()
    words += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session"]
    return [*words, "--chdir", "/", "--", *command]


@functools.cache
def check_readable(path: Path, *, whole: bool) -> None:
    """Raise ``MISSING_FILE`` if the ids of commands cannot read a file or folder of a user of this computer.

    ``whole`` looks at the entries of a folder, at the first :data:`LOOKED_AT` of them: repositories can be large.
    """
    if not ids.is_private() or not _is_of_user(info := path.stat()):
        return
    _check_mode(path, info, path)
    if whole and stat.S_ISDIR(info.st_mode):
        for entry, _ in islice(walk(path), LOOKED_AT):
            _check_mode(Path(entry.path), entry.stat(follow_symlinks=False), path)


def _is_of_user(info: os.stat_result) -> bool:
    return info.st_uid >= SIZE


def _check_mode(path: Path, info: os.stat_result, top: Path) -> None:
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(info.st_mode) else 0)
    if _is_of_user(info) and not stat.S_ISLNK(info.st_mode) and info.st_mode & wanted != wanted:
        what = f"{path}: commands of a build cannot read it (mode {stat.S_IMODE(info.st_mode):04o})"
        raise StagewrightError(Reason.MISSING_FILE, what, hint=f"chmod -R go+rX {top}")


def commands_ids() -> list[str]:
    """Return the arguments of bwrap(1) for the user namespace of commands, which it enters after it has mounted."""
    handle = commands_namespace()
    return [] if handle is None else ["--userns2", str(handle)]
