"""Starting the command: help, errors of the command line, and looking at the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.measure import Row, Setting, copy_of_demo

ROUNDS = 9

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
    """Compare commands with a Python that does nothing, by processor time: the least of some turns."""
    project = copy_of_demo(setting, "start")
    program = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(setting.store)]
    rounds = setting.count(ROUNDS)
    for word in ("gc", "plan"):  # a store that can remember, compiled modules, and digests of code
        subprocess.run([*program, word], check=False, capture_output=True)
    commands = [[sys.executable, "-c", "pass"], *([*program, *words] for _, words, _ in COMMANDS)]
    turns = [[_seconds(command) for command in commands] for _ in range(rounds)]
    floor, *least = map(min, zip(*turns, strict=True))  # other load on the machine only adds
    rows = []
    for (name, _, limit), seconds in zip(COMMANDS, least, strict=True):
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
