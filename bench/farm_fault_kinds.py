"""The faults of :mod:`bench.farm_faults`: how each of them strikes a farm, and how it is lifted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.farm_lab import Lab

CLOCK = Path(__file__).with_name("farm_clock")
"""A folder with the module that makes the clock of a Python program wrong. libfaketime breaks Python's time.sleep."""

_DISK = 3 << 30
"""Size of the disk of a worker that can be full, in bytes: a worker refuses to start with less than 2 GiB."""

_HOURS = 30
"""The most hours that a clock is wrong."""


@dataclass
class Turn:
    """A build that a fault strikes. ``struck`` is the worker that has it."""

    farm: Lab
    chosen: random.Random
    process: subprocess.Popen[str]
    struck: str = ""

    def worker(self) -> str:
        """Choose a worker: in most cases one that builds a node now."""
        names = sorted(self.farm.workers)
        busy = [name for name in names if list(self.farm.store(name).glob("work/*"))]
        self.struck = self.chosen.choice(busy or names)
        return self.struck

    def wait(self, seconds: float) -> None:
        """Wait for the end of the build, but not longer. Its output is short enough for the pipe."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)


@dataclass
class Fault:
    """A fault. ``remote`` is the kind of remote store.

    It strikes at a moment between two numbers of seconds after the start of the build, and is lifted after a time
    between two numbers of seconds, or ``until_the_end`` of the build.
    """

    remote: str
    moments: tuple[float, float] = (0.5, 12.0)
    seconds: tuple[float, float] = (0.0, 0.0)
    until_the_end: bool = True

    @contextlib.contextmanager
    def prepared(self, farm: Lab, workers: Sequence[str]) -> Iterator[None]:
        """Prepare a farm before its workers start."""
        yield

    def strike(self, turn: Turn) -> str:
        """Begin. Return words for the log."""
        raise NotImplementedError

    def lift(self, turn: Turn) -> None:
        """End it, and wait until the farm is whole."""
        raise NotImplementedError


class WorkerKilled(Fault):
    """SIGKILL for a worker; another process starts in its place."""

    def strike(self, turn: Turn) -> str:
        """Kill it."""
        name = turn.worker()
        turn.farm.net.stop(name, signal.SIGKILL)
        return name

    def lift(self, turn: Turn) -> None:
        """Start it."""
        turn.farm.restart(turn.struck)


class SchedulerKilled(Fault):
    """SIGKILL for the scheduler."""

    def strike(self, turn: Turn) -> str:
        """Kill it."""
        turn.farm.net.stop("scheduler", signal.SIGKILL)
        return "scheduler"

    def lift(self, turn: Turn) -> None:
        """Start it. The workers connect again."""
        for name in turn.farm.workers:
            turn.farm.net.log(name).write_text("")
        turn.farm.start_scheduler()


class LinkCut(Fault):
    """The link of a worker goes down for some seconds."""

    def strike(self, turn: Turn) -> str:
        """Cut it."""
        turn.farm.net.cut(turn.worker())
        return turn.struck

    def lift(self, turn: Turn) -> None:
        """Restore it."""
        turn.farm.net.join(turn.struck)


class RemoteRefuses(Fault):
    """The port of the remote store is closed, and its connections end."""

    def strike(self, turn: Turn) -> str:
        """Close it."""
        turn.farm.service.shut()
        return "closed"

    def lift(self, turn: Turn) -> None:
        """Open it."""
        turn.farm.service.open()


class RemoteSlow(Fault):
    """The remote store answers late and slowly."""

    def strike(self, turn: Turn) -> str:
        """Make it slow."""
        rate, delay = turn.chosen.choice((100_000, 300_000, 1_000_000)), turn.chosen.uniform(0.02, 0.2)
        turn.farm.service.slow.write_text(f"{rate} {delay:.3f}")
        return f"{rate >> 10} KiB/s, {delay:.2f} s"

    def lift(self, turn: Turn) -> None:
        """Make it fast."""
        turn.farm.service.slow.unlink()


class RemoteAlters(Fault):
    """One of three answers of the remote store has a wrong byte."""

    def strike(self, turn: Turn) -> str:
        """Begin to alter."""
        turn.farm.service.alter.write_text(str(turn.chosen.random()))
        return "altered"

    def lift(self, turn: Turn) -> None:
        """Alter no more."""
        turn.farm.service.alter.unlink()


class DiskFull(Fault):
    """The disk of a worker has no room: a file takes what is free. Each worker has its own small disk."""

    @contextlib.contextmanager
    def prepared(self, farm: Lab, workers: Sequence[str]) -> Iterator[None]:
        """Mount the disks."""
        with contextlib.ExitStack() as mounted:
            for name in workers:
                image = farm.folder / f"{name}.ext4"
                with image.open("wb") as file:
                    file.truncate(_DISK)
                subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
                farm.store(name).mkdir()
                subprocess.run(["mount", "-o", "loop", image, farm.store(name)], check=True)
                mounted.callback(_unmount, farm.store(name))
            yield

    def strike(self, turn: Turn) -> str:
        """Take all that is free, or all but a little."""
        name, left = turn.worker(), turn.chosen.choice((0, 0, 50_000, 1_000_000))
        store = turn.farm.store(name)
        info = os.statvfs(store)
        with (store / "ballast").open("wb") as file:
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, info.f_bavail * info.f_frsize - left))
            with contextlib.suppress(OSError):
                while left == 0:
                    os.write(file.fileno(), bytes(4096))
        return f"{name}, {left} bytes left"

    def lift(self, turn: Turn) -> None:
        """Give the room back."""
        (turn.farm.store(turn.struck) / "ballast").unlink()


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", folder], check=True)


class ClockSkewed(Fault):
    """The clock of a worker's programs in Python jumps by up to :data:`_HOURS` hours. Times of files do not."""

    @contextlib.contextmanager
    def prepared(self, farm: Lab, workers: Sequence[str]) -> Iterator[None]:
        """Let workers read their clock from a file."""
        for name in workers:
            self._set(farm, name, 0)
            farm.preload[name] = {"PYTHONPATH": str(CLOCK), "FARM_CLOCK": str(self._file(farm, name))}
        yield

    @staticmethod
    def _set(farm: Lab, name: str, seconds: int) -> None:
        new = farm.folder / f"{name}.clock.new"
        new.write_text(str(seconds))
        new.replace(ClockSkewed._file(farm, name))

    @staticmethod
    def _file(farm: Lab, name: str) -> Path:
        return farm.folder / f"{name}.clock"

    def strike(self, turn: Turn) -> str:
        """Set it forward or back."""
        seconds = turn.chosen.randrange(-_HOURS * 3600, _HOURS * 3600)
        self._set(turn.farm, turn.worker(), seconds)
        return f"{turn.struck} by {seconds / 3600:+.1f} hours"

    def lift(self, turn: Turn) -> None:
        """Set it right."""
        self._set(turn.farm, turn.struck, 0)


FAULTS = {
    "worker killed": WorkerKilled("oci"),
    "scheduler killed": SchedulerKilled("s3", seconds=(0.0, 10.0), until_the_end=False),
    "link cut": LinkCut("sftp", seconds=(0.5, 15.0), until_the_end=False),
    "remote refuses": RemoteRefuses("sftp", seconds=(0.5, 30.0), until_the_end=False),
    "remote slow": RemoteSlow("oci"),
    "remote alters": RemoteAlters("s3", moments=(0.0, 8.0)),
    "disk full": DiskFull("oci"),
    "clock skewed": ClockSkewed("s3", moments=(0.0, 8.0)),
}
"""The faults by name."""
