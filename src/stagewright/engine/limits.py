"""The limits of running workers: their time, memory and processes, and what they write to the disk of the store."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.engine.job import Job
from stagewright.errors import Reason, StagewrightError
from stagewright.project.limits import Limits, shown
from stagewright.root.limit_groups import NO_PLACE, LimitGroup
from stagewright.trees import measure

RESERVE = 512 << 20
"""Bytes of the store's disk that one node must leave free for others; at most a fiftieth of the disk."""

LOOK = 1.0
"""Seconds between two looks at the free space."""

MEASURING = 20
"""A node's files are measured again after this number of times that the measurement has taken."""


def default_memory() -> int:
    """Return the default memory limit of a node in bytes: nine tenths of this machine's memory."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemTotal")) * 1024 * 9 // 10


def limit_error(message: str, limit: str, value: str, more: str, detail: str = "") -> StagewrightError:
    """Return the error for a node that hit a limit. ``more`` is an example of a higher value."""
    hint = f"raise it: limits = {{ {limit} = {more} }} in the stage, or --limit {limit}={more.strip(chr(34))}"
    return StagewrightError(Reason.LIMIT, f"{message} ({limit} = {value})", detail=detail, hint=hint)


@dataclass
class Guard:
    """Enforces the limits of one job: of its time by the engine, of memory and processes by the kernel.

    ``started`` (monotonic seconds) is moved by the time that the node has waited for others.
    """

    limits: Limits
    group: LimitGroup
    started: float = field(default_factory=time.monotonic)
    _waits_since: float | None = None

    @classmethod
    def start(cls, job: Job, folder: Path) -> Guard:
        """Make the control groups of a worker with this work folder."""
        memory = job.limits.memory or default_memory()
        swap = job.limits.memory is None
        return cls(job.limits, LimitGroup.make(folder.name, memory, job.limits.processes, swap=swap))

    def note_phase(self, *, waits: bool) -> None:
        """Note that a phase begins, in which the node waits for another one, or does not."""
        now = time.monotonic()
        if self._waits_since is not None:
            self.started += now - self._waits_since
        self._waits_since = now if waits else None

    def overdue(self) -> StagewrightError | None:
        """Return the error for a worker that has taken too long, or None."""
        now = time.monotonic() if self._waits_since is None else self._waits_since
        if now - self.started <= self.limits.seconds:
            return None
        number, unit = int(self.limits.timeout[:-1]), self.limits.timeout[-1]
        return limit_error(
            "time limit: it took too long, and was ended", "timeout", f'"{number}{unit}"', f'"{number * 2}{unit}"'
        )

    def explained(self, error: StagewrightError) -> StagewrightError:
        """Return the error of a failed worker, with the limit that it hit as the reason, if it hit one."""
        hits = self.group.hits()
        detail = f"{error.message}\n{error.detail}".rstrip()
        if "memory" in hits:
            size = self.group.memory
            return limit_error(
                "out of memory: the kernel ended some of its processes",
                "memory",
                shown(size),
                f'"{max(2, -(-size * 2 >> 30))}G"',
                detail,
            )
        if "pids" in hits:
            number = self.group.processes
            what = "too many processes: the kernel refused to start more"
            return limit_error(what, "processes", str(number), str(number * 2), detail)
        return error

    def __str__(self) -> str:
        disk = f", {shown(self.limits.disk)} of disk" if self.limits.disk else ""
        memory, processes = shown(self.group.memory), self.group.processes
        limits = f"limits: {self.limits.timeout}, {memory} of memory, {processes} processes{disk}"
        return f"{limits}; by {self.group.place or NO_PLACE}"


@dataclass(frozen=True)
class _Measured:
    """The bytes of a work folder, when they were counted, and how long that took (monotonic seconds)."""

    size: int
    end: float
    seconds: float


@dataclass
class DiskWatch:
    """Looks at the free space of the store, and at what each running node has written.

    A node that has more than its limit is to be ended. If the free space falls below the reserve, the node with the
    most files is to be ended, if these are larger than the reserve.

    One thread at a time calls :meth:`look`, with all running nodes. Files are counted by another thread.
    """

    store: Path
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    _next: float = 0.0
    _sizes: dict[Path, _Measured] = field(default_factory=dict)
    _measuring: threading.Thread | None = None

    def look(self, running: Mapping[Path, Limits]) -> dict[Path, StagewrightError]:
        """Return the errors of the work folders whose nodes are to be ended."""
        now = time.monotonic()
        if now < self._next:
            return {}
        self._next = now + LOOK
        total, _, free = self.usage(self.store)
        reserve = min(RESERVE, total // 50)
        scarce = free < reserve
        for folder in [one for one in list(self._sizes) if one not in running]:
            self._sizes.pop(folder, None)
        self._measure([folder for folder, limits in running.items() if scarce or limits.disk], now)
        found = {}
        for folder, limits in running.items():
            size = self._size(folder)
            if limits.disk and size > limits.disk:
                what = f"disk limit: its files have {shown(size)}"
                found[folder] = limit_error(what, "disk", shown(limits.disk), f'"{-(-size * 2 >> 30)}G"')
        if scarce and not found and all(folder in self._sizes for folder in running):
            largest = max(running, key=self._size, default=None)
            if largest and self._size(largest) > reserve:
                found[largest] = _too_full(self.store, free, self._size(largest))
        return found

    def _size(self, folder: Path) -> int:
        known = self._sizes.get(folder)
        return known.size if known else 0

    def _measure(self, folders: Sequence[Path], now: float) -> None:
        """Count the bytes of the folders whose last count is old enough, in a thread."""
        due = [
            folder
            for folder in folders
            if folder not in self._sizes or now > self._sizes[folder].end + MEASURING * self._sizes[folder].seconds
        ]
        if due and not (self._measuring and self._measuring.is_alive()):
            self._measuring = threading.Thread(target=self._count, args=(due,), daemon=True)
            self._measuring.start()
            self._measuring.join(LOOK / 10)  # most folders take less

    def _count(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            started = time.monotonic()
            try:
                size, whole = measure(folder, only_own=True)  # others are lent from the store
            except OSError:  # the disk is damaged, or this process has too many open files
                size, whole = 0, False
            end = time.monotonic()
            self._sizes[folder] = _Measured(size if whole else max(size, self._size(folder)), end, end - started)


def _too_full(store: Path, free: int, size: int) -> StagewrightError:
    message = f"disk full: {store} has only {shown(free)} left, and this node's files have {shown(size)}"
    hint = "stagewright gc removes results that no project needs"
    return StagewrightError(Reason.DISK_FULL, message, hint=hint)
