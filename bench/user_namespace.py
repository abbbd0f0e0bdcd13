"""``make namespace-bench``: what the user namespace of builds costs, by the node ``system`` of the demo.

The node compiles eight packages. Builds with and without the namespace take turns, each without binary packages. The
medians of their processor time are compared, child processes included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import DEMO, Row, show, timed
from stagewright import ids

NODE = "system"
LIMIT = 1.05


@dataclass
class Mode:
    """A project with a store for builds in one mode, and the seconds of processor time of its turns."""

    name: str
    project: Path
    store: Path
    switch: str
    seconds: list[float] = field(default_factory=list)

    def prepare(self) -> None:
        """Build the node once, so that its seed, its sources and its repositories are there."""
        shutil.copytree(DEMO, self.project, ignore=shutil.ignore_patterns("out"))
        self._run("build", NODE, "--progress=quiet")

    def turn(self) -> None:
        """Build the node again."""
        plan = json.loads(self._run("plan", NODE, "--json"))
        (key,) = (step["key"] for step in plan["nodes"] if step["node"] == NODE)
        shutil.rmtree(self.store / "layers" / key)
        shutil.rmtree(self.store / "cache" / "binpkgs")
        _, processor = timed(self._run, "build", NODE, "--progress=quiet")
        self.seconds.append(processor)
        print(f"{self.name}: {processor:.1f} s of processors", flush=True)

    def _run(self, *words: str) -> str:
        command = [sys.executable, "-m", "stagewright", "-C", str(self.project), "--store", str(self.store), *words]
        env = {**os.environ, ids.SWITCH: self.switch}
        return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Measure the turns; return 1 if the namespace costs more than the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.user_namespace", description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright-bench"), help="kept between runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        modes = [
            Mode("as host root", Path(name) / "host", options.store / "host", "1"),
            Mode("user namespace", Path(name) / "private", options.store / "private", ""),
        ]
        for mode in modes:
            mode.prepare()
        for _ in range(options.turns):
            for mode in modes:
                mode.turn()
    host, private = (statistics.median(mode.seconds) for mode in modes)
    note = f"{private:.1f} s of processors against {host:.1f} s, medians of {options.turns} turns"
    row = Row(f"build {NODE} in a user namespace / as host root", private / host, LIMIT, "", note)
    show([row])
    return 0 if row.fine else 1


if __name__ == "__main__":
    sys.exit(main())
