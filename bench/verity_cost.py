"""``python -m bench.verity_cost``: what the verification of the image costs a machine that starts from the network.

It needs two finished sets of one project, the second by a payload with ``verity = false``. Pairs of machines, one of
each set, start at the same time. It prints the rows of a table in docs/netboot.md.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.verity_matrix import READY, Change, Trial
from stagewright.netboot.methods import Method
from stagewright.testing.script import BootCommand, BootScript, Login

_DROP = "sync; echo 3 > /proc/sys/vm/drop_caches"
_LOOK = "cat /proc/meminfo; grep count: /proc/zoneinfo"
SCRIPT = BootScript(
    expect=(READY,),
    login=Login("root"),
    commands=(BootCommand(f"sleep 5; {_DROP}; sleep 3; {_DROP}; echo 1 > /proc/sys/vm/stat_refresh; {_LOOK}"),),
    poweroff=True,
    seconds=900,
)


@dataclass(frozen=True)
class Cost:
    """Seconds until the login, and MiB of memory in use after the caches are dropped."""

    login: float
    memory: float


def measure(folder: Path, method: Method) -> Cost:
    """Boot a set. Raises ``BOOT_FAILED``."""
    with tempfile.TemporaryDirectory(prefix="verity-cost-", dir="/var/tmp") as name:
        report = Trial(folder, method, Change.NONE).run(Path(name), script=SCRIPT)
        console = report.machine.console.read_text(encoding="utf-8", errors="replace")
    return Cost(report.machine.milestones["login prompt"], in_use(console) / 1024)


def in_use(console: str) -> int:
    """Return the memory in use, in KiB: neither free, nor on the lists of free pages of the processors."""
    facts = {name: int(size) for name, size in re.findall(r"(MemTotal|MemFree): +(\d+) kB", console)}
    pages = sum(map(int, re.findall(r"^ +count: +(\d+)", console, re.MULTILINE)))
    return facts["MemTotal"] - facts["MemFree"] - 4 * pages


def cell(pairs: Sequence[tuple[float, float]], unit: str) -> str:
    """Return the means, their difference, and the smallest and largest difference of a pair."""
    verified, plain = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    each = [_percent(*pair) for pair in pairs]
    more = _percent(verified, plain)
    return f"{verified:.1f} / {plain:.1f} {unit}, {more:+.1f} % ({min(each):+.1f} to {max(each):+.1f} %)"


def _percent(one: float, other: float) -> float:
    return (one / other - 1) * 100


def main() -> int:
    """Boot the pairs and print the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.verity_cost", description=__doc__)
    parser.add_argument("verified", type=Path, help="a set whose image is verified")
    parser.add_argument("plain", type=Path, help="the same set with verity = false in the payload")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--methods", nargs="+", type=Method, default=[Method.HTTP, Method.STREAM])
    options = parser.parse_args()
    with ThreadPoolExecutor(2) as pool:
        for method in options.methods:
            sets = [options.verified, options.plain]
            pairs = [list(pool.map(measure, sets, [method] * 2)) for _ in range(options.pairs)]
            login = cell([(one.login, other.login) for one, other in pairs], "s")
            memory = cell([(one.memory, other.memory) for one, other in pairs], "MiB")
            print(f"| {method} | {options.pairs} | {login} | {memory} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
