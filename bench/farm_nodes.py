"""The cost of a node on a farm against the same node on this machine: one scheduler, one worker, over loopback.

The nodes are those of :mod:`bench.nodes`: a chain of stages that only change a file. So what is measured is the way to
the machine and back, the inputs, the shared store and the events. Chains of two lengths are compared, so that the start
of the commands does not count.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, Setting, best, stagewright, timed
from bench.nodes import write_chain
from bench.processes import tree_seconds

NODES = 20
TURNS = 3
FARM = 300.0
"""Milliseconds that a node may take longer on a farm."""


def measure(setting: Setting) -> list[Row]:
    """Build chains here and on the farm in turns; the fastest of some turns counts."""
    short, long = (1, 2) if setting.tiny else (2, 2 + NODES)
    here, there = [], []
    with _farm(setting.folder / "farm") as farm:
        for turn in range(setting.count(TURNS)):
            here.append(_node(setting.folder / f"here{turn}", short, long, ()))
            there.append(_node(setting.folder / f"there{turn}", short, long, farm.options, farm.processes))
    (wall, processor), (floor, its) = best(there), best(here)
    return [
        Row("a node on a farm, wall time more", _more(wall, floor), FARM, "ms", _note(wall, floor, long)),
        Row("a node on a farm, processors more", _more(processor, its), FARM, "ms", _note(processor, its, long)),
    ]


def _more(one: float, other: float) -> float:
    return max(0.0, one - other) * 1000


def _note(one: float, other: float, count: int) -> str:
    return f"{one * 1000:.0f} ms against {other * 1000:.0f} ms, {count} nodes"


class _Farm:
    """The options of a build on a farm, and the processes of the farm."""

    def __init__(self, options: tuple[str, ...], processes: list[subprocess.Popen[bytes]]) -> None:
        self.options, self.processes = options, processes


@contextlib.contextmanager
def _farm(folder: Path) -> Iterator[_Farm]:
    folder.mkdir()
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{one.getsockname()[1]}"
    remote = f"{folder}/remote/"
    commands = {
        "scheduler": (["farm", "scheduler", url], "scheduler: "),
        "worker": (["worker", "--scheduler", url, "--remote", remote, "--name", "m1"], "m1: connected"),
    }
    processes = []
    try:
        for name, (words, ready) in commands.items():
            command = [sys.executable, "-m", "stagewright", "--store", str(folder / "store"), *words]
            with (folder / name).open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            _wait(folder / name, ready)
        yield _Farm(("--farm", url, "--farm-remote", remote), processes)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def _wait(log: Path, text: str) -> None:
    end = time.monotonic() + 60
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        if time.monotonic() > end:
            raise TimeoutError(f"{log}: {log.read_text(encoding='utf-8', errors='replace')}")
        time.sleep(0.05)


def _node(
    folder: Path, short: int, long: int, options: tuple[str, ...], others: list[subprocess.Popen[bytes]] | None = None
) -> tuple[float, float]:
    """Return the wall time and the processor time of a node in seconds, those of the farm included."""
    costs = {}
    for count in (short, long):
        project = write_chain(folder / str(count), count, f"{folder.name}.{count}")
        before = sum(tree_seconds(process.pid) for process in others or ())
        wall, processor = timed(stagewright, project, folder / f"store{count}", "build", "--progress=quiet", *options)
        after = sum(tree_seconds(process.pid) for process in others or ())
        costs[count] = (wall, processor + after - before)
    wall, processor = ((costs[long][at] - costs[short][at]) / (long - short) for at in (0, 1))
    return max(0.0, wall), max(0.0, processor)
