"""Timing a command, and the table of results."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.engine.plan import make_plan
from stagewright.graph.node import Yields
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.store.store import Store

DEMO = Path(__file__).parents[1] / "examples" / "demo"


@dataclass(frozen=True)
class Row:
    """One measured number and the most that it may be."""

    what: str
    value: float
    limit: float
    unit: str
    note: str = ""

    @property
    def fine(self) -> bool:
        """Whether it keeps its limit."""
        return self.value <= self.limit


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    width = max(len(row.what) for row in rows)
    for row in rows:
        mark = "ok  " if row.fine else "OVER"
        value = f"{row.value:9.3f}" if row.value < 100 else f"{row.value:9.0f}"
        print(f"{mark} {row.what:<{width}} {value} {row.unit:<6} (at most {row.limit:g})  {row.note}")


def median_of(function: Callable[[], object], times: int = 5) -> float:
    """The median of the wall times of some calls, in seconds."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def cost(function: Callable[[], object]) -> tuple[float, float]:
    """The seconds that something takes by the clock, and of processors, its processes included."""
    before = os.times()
    function()
    after = os.times()
    return after.elapsed - before.elapsed, sum(after[:4]) - sum(before[:4])


def stagewright(folder: Path, store: Path, *words: str) -> float:
    """Run the command in a project; returns its wall time in seconds."""
    command = [sys.executable, "-m", "stagewright", "-C", str(folder), "--store", str(store), *words]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    return time.perf_counter() - started


def peak_memory() -> float:
    """The most memory that any child took so far, in MiB (its own, not that of its children)."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def copy_of_demo(folder: Path, name: str) -> Path:
    """A copy of the demo to change, with its lock where there is one."""
    target = folder / name
    shutil.copytree(DEMO, target, ignore=shutil.ignore_patterns("out"))
    return target


def seed_of_demo(folder: Path, store: Path, name: str) -> Path:
    """The tree of the demo's seed in a store, built if it is not there yet."""
    project = copy_of_demo(folder, name)
    stagewright(project, store, "build", "debian", "--progress=quiet")
    opened = Store(store)
    steps = make_plan(load(project, kinds()), opened, ["debian"]).steps
    return opened.tree(Yields.LAYER, steps["seed:debian"].key.digest)
