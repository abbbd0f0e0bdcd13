"""The processor time of processes that go on running, such as services."""

from __future__ import annotations

import os
from pathlib import Path

_FIELDS = slice(11, 15)
"""utime, stime, cutime, cstime after the name in /proc/PID/stat (proc_pid_stat(5))."""


def tree_seconds(pid: int) -> float:
    """Return the processor time of a process and of all that it started, in seconds."""
    ticks, waiting = 0, [pid]
    while waiting:
        one = Path(f"/proc/{waiting.pop()}")
        try:
            ticks += sum(map(int, (one / "stat").read_text().rpartition(")")[2].split()[_FIELDS]))
            for task in (one / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")
