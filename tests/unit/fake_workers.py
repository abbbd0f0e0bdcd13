"""A small project whose nodes are built by a shell script that speaks the protocol of workers.

Each node has a behaviour: shell text, with these functions. ``say`` prints an event; ``built`` puts an empty result
into the store and reports it; ``failed`` reports an error; ``reach NAME`` creates a file, and ``await NAME`` waits for
one.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stagewright import ids
from stagewright.engine import pins
from stagewright.engine.job import Job
from stagewright.engine.local import LocalExecutor
from stagewright.engine.plan import Plan, make_plan
from stagewright.engine.resources import Resources
from stagewright.engine.scheduler import Outcome, Scheduler
from stagewright.engine.worker_process import Worker
from stagewright.engine.workspace import Workspace
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeFinished, Status
from stagewright.graph.node import Yields
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.model import folder_digest
from stagewright.run import PIPE, spawn
from stagewright.store.meta import Meta
from stagewright.store.store import Store

PROJECT = """
format = 1
project = { name = "demo" }

[seeds.one]
arch = "amd64"
file = "folder"

[seeds.two]
arch = "amd64"
file = "other"

[stages.first]
kind = "tarball"
root = "one"

[stages.second]
kind = "tarball"
root = "two"
"""

SCRIPT = r"""
say() { printf '%s\n' "$1"; }
built() {
    mkdir -p "$RESULT/tree" && cp "$FOLDER/meta.json" "$RESULT/" && echo "$IDS" > "$RESULT/ids"
    echo "end $NODE" >> "$CALLS"
    say "$BUILT"
}
failed() { say "$FAILED"; exit 1; }
reach() { : > "$FLAGS/$1"; }
await() { until [ -e "$FLAGS/$1" ]; do sleep 0.01; done; }
echo "start $NODE" >> "$CALLS"
"""


@dataclass
class Site:
    """The project, its store, the behaviours of its nodes, and the events of its runs."""

    folder: Path
    behaviours: Mapping[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.folder / "store")
        self.flags = self.folder / "flags"
        self.flags.mkdir()
        project = self.folder / "project"
        for name in ("folder", "other"):
            (project / name / "usr").mkdir(parents=True)
            (project / name / "usr" / name).touch()
        (project / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
        pins.save(load(project, kinds()).lock)  # its time stamp is part of the keys

    @property
    def records(self) -> str:
        """The name of the project's logs, history and failed roots."""
        return f"demo-{folder_digest(self.folder / 'project')}"

    def plan(self, *targets: str) -> Plan:
        return make_plan(Workspace(load(self.folder / "project", kinds()), self.store.path), targets)

    def key(self, node: str) -> str:
        return self.plan().steps[node].key.digest

    def job(self, node: str) -> tuple[Job, Path]:
        """Return the job of a node without inputs, as the scheduler makes it, and a work folder."""
        found: list[tuple[Job, Path]] = []

        def note(job: Job, folder: Path) -> Worker:
            found.append((job, folder))
            raise KeyboardInterrupt

        plan = self.plan(node.rpartition(":")[2])
        with contextlib.suppress(KeyboardInterrupt):
            Scheduler(plan, self.store, LocalExecutor(self.store, Resources(1, 1000), note), []).run()
        return found[0]

    def script(self, job: Job, folder: Path) -> list[str]:
        """Return the command that plays the worker of a job."""
        node, key = job.node, job.key
        stack = [key.digest] if node.yields is Yields.LAYER else []
        meta = Meta(key.digest, node.id, node.kind, 0.0, 1, key.data, stack)
        (folder / "meta.json").write_text(json.dumps(asdict(meta)), encoding="utf-8")
        error = StagewrightError(Reason.COMMAND_FAILED, "it failed").to_dict()
        facts = {
            "NODE": node.id,
            "FOLDER": folder,
            "RESULT": self.store.folder(node.yields, key.digest),
            "CALLS": self.folder / "calls",
            "FLAGS": self.flags,
            "IDS": ids.mark(),
            "BUILT": NodeFinished(node=node.id, status=Status.BUILT, size=1).to_json(),
            "FAILED": NodeFinished(node=node.id, status=Status.FAILED, error=error).to_json(),
        }
        text = self.behaviours.get(node.id, "built")
        return ["env", *(f"{name}={value}" for name, value in facts.items()), "sh", "-c", SCRIPT + text]

    def launch(self, job: Job, folder: Path) -> Worker:
        """Start the worker of a job, without namespaces, so that no test needs root."""
        job.write(folder)
        with (folder / "log").open("ab") as log:
            process = spawn(self.script(job, folder), stdin=PIPE, stdout=PIPE, stderr=log, own_session=True)
        worker = Worker(job, folder, process, os.pidfd_open(process.pid))
        os.set_blocking(worker.fileno(), False)
        Path(job.log).parent.mkdir(parents=True, exist_ok=True)
        return worker

    def scheduler(self, *listeners: Callable[[Event], None], cores: int = 2, **options: Any) -> Scheduler:
        resources = Resources(cores, 100_000, options.pop("jobs", None))
        everyone = [self.events.append, *listeners]
        executor = LocalExecutor(self.store, resources, self.launch)
        return Scheduler(self.plan(), self.store, executor, everyone, **options)

    def run(self, *listeners: Callable[[Event], None], cores: int = 2, **options: bool | int) -> Outcome:
        return self.scheduler(*listeners, cores=cores, **options).run()

    def reach(self, flag: str) -> None:
        (self.flags / flag).touch()

    @property
    def calls(self) -> list[str]:
        """Actions of the workers: ``start NODE`` and ``end NODE``, in order."""
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def names(self, kind: type[Event]) -> list[str]:
        """The nodes of the events of one type."""
        return [getattr(event, "node", "") for event in self.events if isinstance(event, kind)]


def eventually(test: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a test is true."""
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)
