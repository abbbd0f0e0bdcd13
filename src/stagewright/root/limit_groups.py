"""Control groups with limits for the processes of one worker: version 2 where possible, else version 1.

Version 2: the group is made below the nearest group above this process that hands on the controllers memory and pids,
and in which this process may make groups. A worker then leaves the groups in between, such as that of a service of
systemd. So none of them may limit memory, cores or disks; their limit of processes stays for each worker. Version 1:
one group for each controller, below the group of this process. Without both, the launcher sets resource limits, which
count for single processes and single users only (setrlimit(2)). See cgroups(7).

Groups outlive processes. So a keeper removes them when the engine closes the pipe between them, or ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.run import PIPE, Process, run, spawn

CONTROLLERS = ("memory", "pids")

_OPEN = {"memory.max": "max", "memory.high": "max", "cpu.max": "max", "io.max": "", "cpuset.cpus": ""}
"""Files of limits of version 2, and the first word of each in a group without that limit."""

_WAIT = 0.5
"""Seconds to wait for a keeper, which ends at once unless a process of the group cannot be killed."""

OOM_SCORE = 500
"""Added to the score of a worker (proc_pid_oom_score_adj(5)): the kernel kills a build before the engine."""

_LAUNCHER = """
[ ! -e /proc/$$/oom_score_adj ] || echo "$1" > /proc/$$/oom_score_adj
[ "$2" = 0 ] || ulimit -d "$2"
[ "$3" = 0 ] || ulimit -u "$3" 2>/dev/null || ulimit -p "$3" 2>/dev/null
shift 3
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done
shift
exec "$@"
"""
# Limits of memory are those of data segments: programs such as Go's reserve far more address space than they use.

_KEEPER = """
read -r ended
for _ in $(seq 100); do
    left=
    for group in "$@"; do
        [ -d "$group" ] || continue
        [ -e "$group/cgroup.kill" ] && echo 1 > "$group/cgroup.kill"
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || left=yes
    done
    [ "$left" ] || exit 0
    sleep 0.1
done
"""


@dataclass(frozen=True)
class Place:
    """Groups in which groups with limits can be made, by controller. ``version`` is that of control groups.

    ``processes`` is the limit of processes that a worker leaves, if there is one.
    """

    version: int
    folders: Mapping[str, Path]
    processes: int | None = None

    def __str__(self) -> str:
        return f"control groups of version {self.version}: they count for all processes of a node together"


NO_PLACE = (
    "resource limits, which count for each process alone: no control group with memory and pids can be made here, "
    "or only outside of the limits of this one (as an ordinary user, start Stagewright by systemd-run --user --scope)"
)
"""Text of ``doctor`` about the limits of nodes if :func:`find_place` returns None."""


@dataclass
class LimitGroup:
    """The groups of one worker. With ``place`` None, it has none, and the launcher sets resource limits."""

    name: str
    memory: int
    processes: int
    place: Place | None
    keeper: Process | None = None

    @classmethod
    def make(cls, name: str, memory: int, processes: int, *, swap: bool) -> LimitGroup:
        """Make the groups with these limits; ``memory`` in bytes. Without ``swap``, the limit includes swap."""
        place = find_place()
        group = cls(name, memory, min(processes, place.processes or processes) if place else processes, place)
        if group.place:
            group.keeper = spawn(
                ["sh", "-c", _KEEPER, "keeper", *map(str, group._folders())], stdin=PIPE, own_session=True
            )
            try:
                group._write(group.place, swap)
                if run(group.command(["true"]), check=False).code:
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError:
                group.remove()
                group.place = None
        return group

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs ``words`` in the groups."""
        limits = ["0", "0"] if self.place else [str(self.memory >> 10), str(self.processes)]
        groups = map(str, self._folders())
        return ["sh", "-c", _LAUNCHER, "launcher", str(self.score), *limits, *groups, "--", *words]

    @property
    def score(self) -> int:
        """The value of ``oom_score_adj`` for a worker (proc_pid_oom_score_adj(5))."""
        return min(1000, _own_score() + OOM_SCORE)

    def resource_limits(self) -> dict[int, int]:
        """Return the limits of setrlimit(2) that replace missing groups."""
        return {} if self.place else {resource.RLIMIT_DATA: self.memory, resource.RLIMIT_NPROC: self.processes}

    def take(self, process: int) -> None:
        """Move a process into the groups. Raises OSError if the kernel refuses it."""
        for folder in self._folders():
            (folder / "cgroup.procs").write_text(str(process), encoding="ascii")

    def hits(self) -> set[str]:
        """Return the controllers whose limit was hit: the kernel killed a process, or refused to make one."""
        if not self.place:
            return set()
        memory = "memory.events" if self.place.version == 2 else "memory.oom_control"
        counters = {"memory": (memory, "oom_kill"), "pids": ("pids.events", "max")}
        return {
            controller
            for controller, (name, entry) in counters.items()
            if _counter(self._folder(controller) / name, entry) > 0
        }

    def remove(self) -> None:
        """Remove the groups, whose processes have ended, and end the keeper."""
        for folder in self._folders():
            with contextlib.suppress(OSError):  # the keeper tries again
                folder.rmdir()
        if self.keeper:
            assert self.keeper.stdin
            with contextlib.suppress(OSError):
                self.keeper.stdin.write(b"ended\n")
            with contextlib.suppress(OSError):
                self.keeper.stdin.close()
            _reap(self.keeper)
            self.keeper = None

    def _folder(self, controller: str) -> Path:
        assert self.place
        return self.place.folders[controller] / f"stagewright-{self.name}-limits"

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys(map(self._folder, CONTROLLERS))) if self.place else []

    def _write(self, place: Place, swap: bool) -> None:
        """Make the groups and write their limits."""
        for folder in self._folders():
            folder.mkdir()
        memory, pids = map(self._folder, CONTROLLERS)
        _set(pids / "pids.max", self.processes)
        if place.version == 2:
            _set(memory / "memory.max", self.memory)
            _set(memory / "memory.swap.max", None if swap else 0)
        else:
            _set(memory / "memory.limit_in_bytes", self.memory)
            _set(memory / "memory.memsw.limit_in_bytes", None if swap else self.memory)


_keepers: list[Process] = []
"""Keepers that have not ended yet. Threads of a farm's worker share the list: change it only with the lock."""

_keepers_lock = threading.Lock()


def _reap(keeper: Process) -> None:
    """Wait for a keeper that was asked to end. One that takes longer is reaped after a later node."""
    end = time.monotonic() + _WAIT
    while keeper.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    with _keepers_lock:
        _keepers[:] = [one for one in (*_keepers, keeper) if one.poll() is None]


def _own_score() -> int:
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/oom_score_adj").read_text(encoding="utf-8"))
    return 0


def find_place(own: str | None = None, mounts: str | None = None) -> Place | None:
    """Return where this process can make groups with limits. Tests give /proc/self/cgroup and /proc/self/mountinfo."""
    try:
        paths = _own_groups(own if own is not None else Path("/proc/self/cgroup").read_text(encoding="utf-8"))
        found = _mounts(mounts if mounts is not None else Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    except OSError:  # a kernel without control groups
        return None
    if "" in found and "" in paths and (place := _handing_on(*found[""], paths[""])):
        return place
    folders = {}
    for controller in CONTROLLERS:
        group = _inside(*found[controller], paths[controller]) if {controller} <= found.keys() & paths.keys() else None
        if group is None or not os.access(group, os.W_OK):
            return None
        folders[controller] = group
    return Place(1, folders)


def _own_groups(text: str) -> dict[str, str]:
    """Return the paths of the groups of this process by controller; the name of version 2 is empty."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(text: str) -> dict[str, tuple[Path, str]]:
    """Return where each hierarchy is mounted, and the group that is mounted there, by controller."""
    found: dict[str, tuple[Path, str]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, target = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), name) for name in before.split()[3:5])
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        found.update({name: (Path(target), root) for name in names})
    return found


def _inside(mount: Path, root: str, path: str) -> Path | None:
    """Return the folder of a group below a mount; None if another part of the hierarchy is mounted there."""
    inner = os.path.relpath(path, root)
    return None if inner.startswith("..") else mount / inner


def _handing_on(mount: Path, root: str, path: str) -> Place | None:
    """Return the nearest group of version 2 that has the controllers for the groups in it, and that we can use.

    None if a worker there would leave a group that limits more than the number of processes.
    """
    start = _inside(mount, root, path)
    if start is None:
        return None
    processes: list[int] = []
    for group in (start, *start.parents):
        if set(CONTROLLERS) <= set(_words(group / "cgroup.subtree_control")):
            usable = os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)
            return Place(2, dict.fromkeys(CONTROLLERS, group), min(processes, default=None)) if usable else None
        if group == mount or any(_words(group / name)[:1] not in ([], [word]) for name, word in _OPEN.items()):
            return None
        processes += [int(word) for word in _words(group / "pids.max")[:1] if word.isdecimal()]
    return None


def _words(path: Path) -> list[str]:
    """Return the words of a file of a group; none if it is missing."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").split()
    return []


def _set(path: Path, value: int | None) -> None:
    """Write a limit. A file of swap that the kernel does not have is left out."""
    if value is not None and (path.exists() or "sw" not in path.name):
        path.write_text(str(value), encoding="utf-8")


def _counter(path: Path, name: str) -> int:
    """Return a number of a file of counters; 0 if it is missing."""
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0
