"""Starting the command: help, errors of the command line, and looking at the demo."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.measure import Row, Setting, copy_of_demo

ROUNDS = 7

COMMANDS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("--help", ("--help",), 11),
    ("unknown command", ("biuld",), 10),
    ("unknown option", ("build", "--nonsense"), 11),
    ("check of the demo", ("check",), 25),
    ("plan of the demo", ("plan",), 30),
)
"""Name, words, and the limit: processor time as a multiple of that of ``python -c pass``.

That takes 0.010 s on an idle machine: the limits of ``check`` and ``plan`` are 0.25 s and 0.30 s there.
"""


def measure(setting: Setting) -> list[Row]:
    """Compare commands with a Python that does nothing, by processor time: that does not count other programs."""
    project = copy_of_demo(setting, "start")
    program = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(setting.store)]
    rounds = setting.count(ROUNDS)
    for word in ("gc", "plan"):  # a store that can remember, compiled modules, and digests of code
        subprocess.run([*program, word], check=False, capture_output=True)
    floor = statistics.median(_seconds([sys.executable, "-c", "pass"]) for _ in range(rounds))
    rows = []
    for name, words, limit in COMMANDS:
        seconds = statistics.median(_seconds([*program, *words]) for _ in range(rounds))
        note = f"{seconds:.3f} s against {floor:.3f} s of python -c pass, processor time"
        rows.append(Row(f"start: {name} / python", seconds / floor, limit, "", note))
    return rows


def _seconds(command: list[str]) -> float:
    """Return the processor time of a command, which may fail."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=null, stderr=null, cwd=Path("/"), env=environment)
    usage = os.wait4(process.pid, 0)[2]
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime
