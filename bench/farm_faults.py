"""``make farm-faults``: faults at random moments of builds on a farm (:mod:`bench.farm_lab`), ten of each.

A build must end with the right result, or with an error that has a reason and an exit code of docs/exit-codes.md. Then
the fault is lifted, and the same command must end with the right result. After each turn, every store is verified, and
compared with the results of this machine alone. The table is in docs/farm.md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.farm_fault_kinds import FAULTS, Fault, Turn
from bench.farm_lab import TRACEBACK, Ended, Lab, command, contents, ended, lab, local
from bench.farm_project import write as write_project
from bench.matrix import ROOT
from bench.table import line, write
from stagewright.errors import Exit, Reason

PAGE, TARGET = ROOT / "docs" / "farm.md", "farm-faults"
COLUMNS = ("fault", "remote store", "turns", "right at once", "clear error", "wrong", "right when it was lifted")
WORKERS = ("w1", "w2", "w3")
HANGS = 600.0
"""Seconds after which a build counts as hanging."""


def main() -> int:
    """Write the table. Return 1 if a turn went wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.farm_faults", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), default=list(FAULTS), help="the rows of others stay")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=3, help="farms at the same time: they wait most of the time")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)), help="of all random choices")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print(f"--seed {options.seed}", flush=True)
    writing = threading.Lock()

    def one(name: str) -> int:
        with tempfile.TemporaryDirectory(prefix="farm-faults-", dir="/var/tmp") as folder:
            count = Row(name, FAULTS[name], Path(folder), options.seed, stop).run(options.turns)
        if count.turns:
            row = count.cells(name, FAULTS[name].remote)
            with writing:
                print(line(row), end="", flush=True)
                write(options.page, TARGET, COLUMNS, [row], part_of=1)
        return count.wrong

    with ThreadPoolExecutor(options.at_once) as pool:
        return 1 if sum(pool.map(one, options.only)) else 0


@dataclass
class Count:
    """Numbers of what happened in the turns of a fault."""

    turns: int = 0
    right: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    lifted: int = 0

    def cells(self, name: str, remote: str) -> list[str]:
        """Return a row of the table."""
        errors = ", ".join(f"{count} `{reason}`" for reason, count in sorted(self.reasons.items()))
        numbers = (str(self.turns), str(self.right), errors or "0", str(self.wrong), str(self.lifted))
        return [name, remote, *numbers]


@dataclass
class Row:
    """The turns of one fault, on a separate farm."""

    name: str
    fault: Fault
    folder: Path
    seed: str
    stop: threading.Event

    def run(self, turns: int) -> Count:
        """Return what happened."""
        count = Count()
        with (
            lab(self.folder / "lab", self.fault.remote, dict.fromkeys(WORKERS, ()), relayed=True) as farm,
            self.fault.prepared(farm, WORKERS),
        ):
            for name in WORKERS:
                farm.start_worker(name, "--cores", "1")
            farm.connected(*WORKERS)
            for number in range(1, turns + 1):
                if self.stop.is_set():
                    return count
                begun = time.monotonic()
                said = self._turn(farm, number, count)
                print(f"{self.name} {number}: {said} ({time.monotonic() - begun:.0f} s)", flush=True)
            self._verify_remote(farm, count)
        return count

    def _turn(self, farm: Lab, number: int, count: Count) -> str:
        chosen = random.Random(f"{self.seed} {self.name} {number}")
        project = write_project(self.folder / f"project-{number}", f"{self.seed} {self.name} {number}", size=1 << 18)
        reference = self.folder / "reference"
        expected = local(project, reference)
        assert expected.code == 0, expected.stderr
        process = farm.build(project, wait=30)
        turn = Turn(farm, chosen, process)
        time.sleep(chosen.uniform(*self.fault.moments))
        said = [f"{self.fault.strike(turn)}"]
        turn.wait(chosen.uniform(*self.fault.seconds))
        problems = []
        if not self.fault.until_the_end:
            self.fault.lift(turn)
        try:
            first = ended(process, HANGS)
            problems += judged(first)
        except TimeoutError as error:
            first = Ended(-1, [], "")
            problems.append(f"it hangs: {error}")
        if self.fault.until_the_end:
            self.fault.lift(turn)
        farm.connected(*WORKERS)
        right = contents(reference)
        problems += self._stores(farm, right)
        second = ended(farm.build(project, wait=30), HANGS)
        if second.code or TRACEBACK in second.stderr:
            problems.append(
                f"afterwards: exit code {second.code}, {second.reasons}\n{second.failures}\n{second.stderr[-3000:]}"
            )
        else:
            missing = [path for path in of_last(expected, right) if path not in contents(farm.store("user"))]
            problems += [f"{path}: not here" for path in missing]
            count.lifted += not missing
        count.turns += 1
        count.wrong += bool(problems)
        count.right += first.code == 0
        count.reasons.update({", ".join(first.reasons or ["without a node"]): 1} if first.code > 0 else {})
        said.append("right" if first.code == 0 else f"exit code {first.code} {first.reasons}")
        if problems:
            keep = Path(tempfile.mkdtemp(prefix=f"farm-fault-{self.name.replace(' ', '-')}-{number}-", dir="/var/tmp"))
            shutil.copytree(farm.net.folder, keep / "logs")
            (keep / "first.json").write_text("\n".join(json.dumps(event) for event in first.events))
            (keep / "problems").write_text("\n".join([*said, *problems, first.stderr]))
            said.append(f"WRONG, see {keep}: " + "\n".join(problems)[:1500])
        return ", ".join(said)

    def _stores(self, farm: Lab, right: dict[str, str]) -> list[str]:
        """Return what is wrong in the stores of the user and of the workers."""
        stores = {name: farm.store(name) for name in ("user", *WORKERS) if farm.store(name).exists()}
        lines = {name: command("verify", "--store", "--keep", "--quiet", store=store) for name, store in stores.items()}
        running = {
            name: subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for name, words in lines.items()
        }
        problems = []
        for name, process in running.items():
            said, _ = process.communicate()
            if process.returncode:
                problems.append(f"store of {name}: verify: exit code {process.returncode}\n{said[-2000:]}")
            found = contents(stores[name])
            problems += [f"store of {name}: {path}: other content" for path in found if found[path] != right.get(path)]
        return problems

    def _verify_remote(self, farm: Lab, count: Count) -> None:
        line = command("store", "verify", "shared", store=farm.store("user"))
        words = farm.net.computers["user"].words(*line)
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=farm.env("user"))
        if done.returncode:
            count.wrong += 1
            print(f"the remote store is damaged:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}", flush=True)


def judged(first: Ended) -> list[str]:
    """Return what is wrong with the end of a build that met a fault: no reason, a defect, a traceback."""
    problems = []
    if TRACEBACK in first.stderr:
        problems.append(f"a traceback\n{first.stderr[-3000:]}")
    if first.code not in set(Exit) - {Exit.BUG, Exit.INTERRUPTED}:
        problems.append(f"exit code {first.code}")
    if first.code and not first.reasons and not first.stderr.strip():
        problems.append("an exit code without an error")
    if odd := set(first.reasons) - (set(Reason) - {Reason.BUG}):
        problems.append(f"unknown reason {', '.join(sorted(odd))}\n{first.failures}")
    return problems


def of_last(build: Ended, right: dict[str, str]) -> list[str]:
    """Return the files of the artifacts that a build has made, which the user must have."""
    keys = {event["key"] for event in build.events if event["event"] == "NodeStarted"}
    return [path for path in right if path.startswith("artifacts/") and path.split("/")[1] in keys]


if __name__ == "__main__":
    sys.exit(main())
