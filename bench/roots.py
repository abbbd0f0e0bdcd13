"""Roots: how long it takes until the root of a stage is ready, on few and on many layers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.measure import Row

LAYERS = 30

_INSIDE = """
import json, statistics, sys, time
from pathlib import Path
from stagewright.root.root import Root
base, count, times = Path(sys.argv[1]), int(sys.argv[2]), 15
layers = [base / "layers" / str(number).rjust(64, "0") / "tree" for number in range(count)]
seconds = []
for attempt in range(times):
    work = base / "work" / f"{count}-{attempt}"
    work.mkdir(parents=True)
    started = time.perf_counter()
    Root.mount(work, layers)
    seconds.append(time.perf_counter() - started)
print(json.dumps(statistics.median(seconds)))
"""


def measure(folder: Path, store: Path) -> list[Row]:
    """Mount overlays of 1 and of many layers in a mount namespace of their own."""
    base = folder / "roots"
    for number in range(LAYERS):
        tree = base / "layers" / str(number).rjust(64, "0") / "tree" / "etc"
        tree.mkdir(parents=True)
        (tree / f"file{number}").write_text("x\n")
    return [
        Row(f"root ready, {count} layers", _median(base, count) * 1000, 100, "ms", "median of 15 mounts")
        for count in (1, LAYERS)
    ]


def _median(base: Path, count: int) -> float:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", _INSIDE, str(base), str(count)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
