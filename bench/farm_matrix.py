"""``make farm-net``: the demo, the line of stages and a small project, on a farm with each kind of remote store.

Scheduler, three workers, user and remote store have a network namespace each (:mod:`bench.farm_net`); all stores are
empty. Each row compares keys and contents of all results in all stores with those of this machine alone, and counts how
often each node was built. Two workers have no emulator for arm64. It writes a table in docs/farm.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.farm_lab import Ended, Lab, command, contents, emulators_of, ended, lab, local
from bench.farm_project import write as write_project
from bench.farm_services import KINDS
from bench.matrix import ROOT
from bench.table import line, write
from stagewright.arch import Arch

PAGE, TARGET = ROOT / "docs" / "farm.md", "farm-net"
COLUMNS = ("project", "remote store", "nodes", "built by w1, w2, w3", "built twice", "other keys or bytes", "time")
WORKERS = ("w1", "w2", "w3")
HOURS = 3600.0

TARGETS: Mapping[str, Sequence[str]] = {"demo": ("iso", "pxe"), "stages": ("desk", "stage3-tarball"), "small": ()}
"""Targets of each project; everything of the small one, which has an arm64 root."""


def main() -> int:
    """Write the table. Return 1 if a row is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m bench.farm_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="of this machine alone")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--projects", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--remotes", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--lock", type=Path, help="a stagewright.lock for the projects")
    parser.add_argument("--seeds", action="store_true", help="the remote store has the seeds already: a shorter run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="farm-net-", dir="/var/tmp") as folder:
        for project in options.projects:
            row = Row(Path(folder), options.store, project, seeds=options.seeds)
            row.prepare(options.lock)
            for kind in options.remotes:
                cells, problems = row.run(kind)
                print(line(cells), "\n".join(problems), flush=True)
                write(options.page, TARGET, COLUMNS, [cells], part_of=2)
                wrong += len(problems)
    return 1 if wrong else 0


@dataclass
class Row:
    """A project that is built on farms and on this machine alone. ``seeds``: the farm need not build its seeds."""

    folder: Path
    store: Path
    name: str
    seeds: bool = False

    @property
    def _project(self) -> Path:
        return self.folder / self.name

    def prepare(self, lock: Path | None) -> None:
        """Copy or write the project, and build it on this machine."""
        if self.name == "small":
            write_project(self._project, "small", arm64=True)
        else:
            shutil.copytree(ROOT / "examples" / self.name, self._project, ignore=shutil.ignore_patterns("out", ".*"))
        if lock and self.name != "small":
            shutil.copy(lock, self._project / "stagewright.lock")
        done = local(self._project, self.store, *TARGETS[self.name])
        if done.code:
            raise SystemExit(f"{self.name}: the build on this machine failed: {done.failures}\n{done.stderr}")

    def run(self, kind: str) -> tuple[list[str], list[str]]:
        """Build it on a farm. Return the cells of the row, and what is wrong."""
        folder = self.folder / f"lab-{self.name}-{kind}"
        hidden = emulators_of(Arch.ARM64)
        with lab(folder, kind, {"w1": hidden, "w2": hidden, "w3": ()}, outside=True) as farm:
            if self.seeds:
                self._give_seeds(farm)
            for name in WORKERS:
                farm.start_worker(name)
            farm.connected(*WORKERS)
            begun = time.monotonic()
            done = ended(farm.build(self._project, *TARGETS[self.name], wait=120), 3 * HOURS)
            cells, problems = self._judged(farm, done)
            if problems:
                shutil.copytree(farm.net.folder, f"/var/tmp/{folder.name}-logs", dirs_exist_ok=True)
        shutil.rmtree(folder)
        return [self.name, kind, *cells, f"{time.monotonic() - begun:.0f} s"], problems

    def _plan(self) -> dict[str, dict[str, Any]]:
        words = command("-C", str(self._project), "plan", "--json", *TARGETS[self.name], store=self.store)
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return {step["node"]: step for step in json.loads(said)["nodes"]}

    def _give_seeds(self, farm: Lab) -> None:
        seeds = [node for node in self._plan() if node.startswith("seed:")]
        words = command("-C", str(self._project), "store", "push", "shared", *seeds, store=self.store)
        subprocess.run(farm.net.computers["user"].words(*words), env=farm.env("user"), check=True)

    def _judged(self, farm: Lab, done: Ended) -> tuple[list[str], list[str]]:
        """Return cells, and what is wrong: other keys, other bytes, nodes that were built twice, a failed build."""
        problems = (
            [f"exit code {done.code}: {done.reasons}\n{done.failures}\n{done.stderr[-3000:]}"] if done.code else []
        )
        keys = {node: step["key"] for node, step in self._plan().items()}
        started = {event["node"]: event for event in done.events if event["event"] == "NodeStarted"}
        other = [f"{node}: other key" for node, event in started.items() if event["key"] != keys.get(node)]
        wanted = contents(self.store)
        found = {name: contents(farm.store(name)) for name in ("user", *WORKERS)}
        other += [
            f"{name}: {path}: other content"
            for name, one in found.items()
            for path, content in one.items()
            if content != wanted.get(path)
        ]
        counts = {node: farm.logs_of(node) for node in started}
        twice = [f"{node}: built {count} times" for node, count in counts.items() if count > 1]
        never = [node for node, key in keys.items() if not any(key in path for one in found.values() for path in one)]
        problems += [f"{node}: in no store" for node in never if not done.code]
        built = Counter(str(event["machine"]) for node, event in started.items() if counts[node])
        by = ", ".join(str(built[name]) for name in WORKERS)
        cells = [str(len(keys)), by, str(len(twice)), str(len(other))]
        return cells, [*problems, *other, *twice, *_misplaced(started)]


def _misplaced(started: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the nodes of the arm64 root that a worker without an emulator has built."""
    return [
        f"{node}: built by {event['machine']}, which has no emulator"
        for node, event in started.items()
        if node.startswith("arm-") and event["machine"] != "w3"
    ]


if __name__ == "__main__":
    sys.exit(main())
