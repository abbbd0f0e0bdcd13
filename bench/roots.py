"""Roots: the time to mount the root of a stage, and to hand a finished root to the next stage."""

from __future__ import annotations

import json
import subprocess
import sys

from bench.measure import Row, Setting

LAYERS = (1, 30, 490)
"""The kernel takes 500; the root of a stage adds some."""

_INSIDE = """
import json, statistics, sys, time
from pathlib import Path
from stagewright.root.root import Root
base, count, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
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


_HANDED = """
import json, os, statistics, sys, time
from pathlib import Path
from stagewright.graph.node import Yields
from stagewright.root.root import Root
from stagewright.store.meta import Meta
from stagewright.store.store import Store
store = Store(Path(sys.argv[1]))
stack, seconds = [], []
for number in range(int(sys.argv[2])):
    work = store.path / "work" / f"stage-{number}"
    root = Root.mount(work, store.stack(stack[0])) if stack else None
    upper = root.upper if root else work / "upper"
    for name in range(500):
        path = upper / "usr" / f"folder{name % 20}" / f"file{number}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 4096)
    os.sync()
    key = str(number).rjust(64, "0")
    started = time.perf_counter()
    stack.insert(0, key)
    store.commit(upper, Yields.LAYER, Meta(key, f"stage{number}", "stage4", 0.0, 0, {}, list(stack)))
    Root.mount(store.path / "work" / f"next-{number}", store.stack(key))
    seconds.append(time.perf_counter() - started)
print(json.dumps(statistics.median(seconds)))
"""


def measure(setting: Setting) -> list[Row]:
    """Mount overlays and hand layers over, in a separate mount namespace."""
    base, mounts, stages = setting.folder / "roots", setting.count(15), setting.count(10)
    for number in range(LAYERS[-1]):
        tree = base / "layers" / str(number).rjust(64, "0") / "tree" / "etc"
        tree.mkdir(parents=True)
        (tree / f"file{number}").write_text("x\n", encoding="utf-8")
    rows = [
        Row(
            f"root ready, {count} layers",
            _seconds(_INSIDE, base, count, mounts) * 1000,
            100 if count < 100 else 400,
            "ms",
            f"median of {mounts} mounts",
        )
        for count in LAYERS
    ]
    handed = _seconds(_HANDED, setting.folder / "handed", stages) * 1000
    return [
        *rows,
        Row("root handed to the next stage", handed, 100, "ms", f"commit and mount, median of {stages} stages"),
    ]


def _seconds(program: str, *arguments: object) -> float:
    words = [sys.executable, "-c", program, *map(str, arguments)]
    command = ["unshare", "--mount", "--propagation", "private", *words]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
