"""The state of recorded runs as data, for `status`, the web page and metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.engine.recorded_runs import NodeRun, RecordedRun, read_run
from stagewright.engine.run_estimates import remaining_seconds, usual_seconds
from stagewright.errors import StagewrightError

KEPT = 200
"""Number of the newest runs that a watch reads."""


def active_nodes(run: RecordedRun) -> list[NodeRun]:
    """Return the nodes that are built now, or that another run builds."""
    return [node for node in run.nodes.values() if node.status is None and (node.started or node.waits)]


def next_nodes(run: RecordedRun) -> list[str]:
    """Return the nodes that have not started, those first that wait for nothing but running nodes."""
    open_nodes = {name for name, node in run.nodes.items() if node.status is None and not node.started}
    ready = [name for name in run.nodes if name in open_nodes and not open_nodes & set(run.inputs.get(name, ()))]
    return [*ready, *(name for name in run.nodes if name in open_nodes and name not in ready)]


def running_data(run: RecordedRun, usual: Mapping[str, float], now: float) -> dict[str, Any]:
    """Return what a run does now. Times are in seconds."""
    return {
        "run": run.run,
        "project": run.project,
        "folder": run.folder,
        "started": run.started,
        "done": sum(node.status is not None for node in run.nodes.values()),
        "nodes": len(run.nodes),
        "remaining": remaining_seconds(run, usual, now),
        "running": [
            {
                "node": node.node,
                "started": node.started,
                "phase": node.phases[-1][1] if node.phases else None,
                "step": node.step,
                "usual": usual.get(node.node),
                "waits": node.waits,
                "machine": node.machine or None,
            }
            for node in active_nodes(run)
        ],
        "next": next_nodes(run),
    }


def run_word(run: RecordedRun) -> str:
    """Return the state of a run in one word."""
    if run.status:
        return str(run.status)
    return "running" if run.is_running else "killed"


def summary(run: RecordedRun) -> dict[str, Any]:
    """Return a run in a few numbers, with its failures."""
    failures = []
    for node in run.nodes.values():
        if node.error:
            failures.append({"node": node.node, "message": StagewrightError.from_dict(node.error).message})
    states: dict[str, int] = {}
    for node in run.nodes.values():
        word = node.status.value if node.status else "open"
        states[word] = states.get(word, 0) + 1
    return {
        "run": run.run,
        "project": run.project,
        "state": run_word(run),
        "started": run.started,
        "seconds": run.last_moment - run.started,
        "nodes": len(run.nodes),
        "cached": run.cached,
        "states": states,
        "failures": failures,
    }


@dataclass
class RunWatch:
    """The newest runs of a store. A file is read again only if it has grown, or if its run has not ended."""

    store: Path
    _known: dict[str, tuple[int, RecordedRun]] = field(default_factory=dict)

    def runs(self) -> Sequence[RecordedRun]:
        """Return the newest runs, newest first."""
        found = []
        files = sorted((self.store / "events").glob("*.jsonl"), reverse=True)[:KEPT]
        for file in files:
            try:
                size = file.stat().st_size
                known = self._known.get(file.name)
                if known is None or known[0] != size or known[1].is_running:
                    run = read_run(file)
                    if run is None:
                        continue
                    known = self._known[file.name] = (size, run)
            except FileNotFoundError:  # removed by a collection meanwhile
                continue
            found.append(known[1])
        names = {file.name for file in files}
        self._known = {name: one for name, one in self._known.items() if name in names}
        return found

    def state(self) -> dict[str, Any]:
        """Return everything that a page shows about the runs."""
        runs, now = self.runs(), time.time()
        running = [
            {**running_data(run, usual_seconds(runs, run.project, run.folder), now), "summary": summary(run)}
            for run in runs
            if run.is_running
        ]
        return {"now": now, "running": running, "runs": [summary(run) for run in runs[:50]]}
