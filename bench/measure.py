"""Common parts of the benchmarks: their inputs, timing a command, and the table of results."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

DEMO = Path(__file__).parents[1] / "examples" / "demo"


@dataclass(frozen=True)
class Setting:
    """Where a benchmark works, on how much, and which project it builds.

    ``folder`` is empty and removed afterwards; ``store`` is kept between runs. ``tiny`` shrinks every input, so that a
    test can run all benchmarks in seconds; the numbers then say nothing. ``catalyst`` and ``decomp`` are checkouts of
    Catalyst and of its library DeComp, if there are any.
    """

    folder: Path
    store: Path
    tiny: bool = False
    demo: Path = DEMO
    catalyst: Path | None = None
    decomp: Path | None = None

    def bytes(self, full: int) -> int:
        """Return the size of an input in bytes."""
        return full >> 10 if self.tiny else full

    def count(self, full: int) -> int:
        """Return how many inputs to make, or how often to measure."""
        return max(1, full // 50) if self.tiny else full


@dataclass(frozen=True)
class Row:
    """One measured number and its limit, both in ``unit``; ratios have no unit."""

    what: str
    value: float
    limit: float
    unit: str
    note: str = ""

    @property
    def fine(self) -> bool:
        """True if the number keeps its limit."""
        return self.value <= self.limit


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    width = 42
    for row in rows:
        mark = "ok  " if row.fine else "OVER"
        value = f"{row.value:9.3f}" if row.value < 100 else f"{row.value:9.0f}"
        print(f"{mark} {row.what:<{width}} {value} {row.unit:<6} (at most {row.limit:g})  {row.note}", flush=True)


def median_of(function: Callable[[], object], times: int) -> float:
    """Return the median of the wall times of some calls, in seconds."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def timed(function: Callable[..., object], *args: object, **named: object) -> tuple[float, float]:
    """Return the wall time and the processor time of a call in seconds, child processes included."""
    started, before = time.perf_counter(), os.times()
    function(*args, **named)
    return time.perf_counter() - started, sum(os.times()[:4]) - sum(before[:4])


def best(costs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the least wall time and the least processor time: other load on the machine only adds."""
    wall, processor = zip(*costs, strict=True)
    return min(wall), min(processor)


def stagewright(folder: Path, store: Path, *words: str) -> float:
    """Run the command in a project and return its wall time in seconds."""
    started = time.perf_counter()
    subprocess.run(command(folder, store, *words), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


_PEAK = """
import os, sys
status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)[1:]
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_memory(folder: Path, store: Path, *words: str) -> float:
    """Run the command in a project and return the memory of its largest process in MiB.

    A small program starts it: the kernel counts the memory of the program that starts another one for that, too.
    """
    line = [sys.executable, "-c", _PEAK, *command(folder, store, *words)]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE)
    return int(done.stdout.split()[-1]) / 1024


def command(folder: Path, store: Path, *words: str) -> list[str]:
    """Return the command line of Stagewright for a project and a store."""
    return [sys.executable, "-m", "stagewright", "-C", str(folder), "--store", str(store), *words]


def copy_of_demo(setting: Setting, name: str) -> Path:
    """Copy the demo, with its lock file if it has one, and return the folder."""
    target = setting.folder / name
    shutil.copytree(setting.demo, target, ignore=shutil.ignore_patterns("out"))
    return target


def keys_of(project: Path, store: Path, *targets: str) -> dict[str, str]:
    """Return the keys of the nodes of a build, by their ids."""
    words = command(project, store, "plan", *targets, "--json")
    plan = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return {str(step["node"]): str(step["key"]) for step in plan["nodes"]}


def seed_key(project: Path, store: Path, seed: str) -> str:
    """Return the key of a seed of the project."""
    return keys_of(project, store, seed)[f"seed:{seed}"]


def seed_tree(project: Path, store: Path) -> Path:
    """Return the tree of the project's seed ``debian``, which is built already."""
    return store / "layers" / seed_key(project, store, "debian") / "tree"


def tree_to_pack(setting: Setting, name: str) -> Path:
    """Return a root to pack: the demo's seed, or a few files if the input is to be tiny."""
    if setting.tiny:
        root = setting.folder / name
        for number in range(20):
            file = root / f"usr/lib/python3.11/file{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{number}\n" * 1000, encoding="utf-8")
        return root
    project = copy_of_demo(setting, name)
    stagewright(project, setting.store, "build", "debian", "--progress=quiet")
    return seed_tree(project, setting.store)
