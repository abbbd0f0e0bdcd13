"""The last failures of nodes that were not built since, by their logs, and the events of the runs that wrote them."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagewright.events import Status
from stagewright.store.store import Store

if TYPE_CHECKING:
    from stagewright.engine.recorded_runs import NodeRun, RecordedRun


@dataclass(frozen=True)
class LastFailure:
    """The last build of a node, which did not make its result.

    ``time`` is in seconds since the epoch. ``log`` is the file with the output of its commands. ``message`` is empty
    if the build was interrupted or killed. ``machine`` is the machine of a farm that built it, and ``machine_root`` the
    folder in which that machine keeps its root; both are empty for a build on this machine.
    """

    time: float
    log: Path
    message: str = ""
    machine: str = ""
    machine_root: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as JSON-able data."""
        return {
            "time": self.time,
            "log": str(self.log),
            "message": self.message or None,
            "machine": self.machine or None,
            "machine_root": self.machine_root or None,
        }

    def look(self, node: str) -> str:
        """Return how to enter the root of a build on another machine (``machine``), or that it keeps none."""
        if not self.machine_root:
            return f"{self.machine} keeps no root of it"
        store = shlex.quote(str(Path(self.machine_root).parents[2]))
        return f"on {self.machine}: stagewright --store {store} shell --on-worker {node}"


def last_failures(store: Store, records: str, nodes: Iterable[str]) -> dict[str, LastFailure]:
    """Return the last failure of each of these nodes that no build made since.

    ``records`` is the name of the project's records in the store. What this user cannot read is left out.
    """
    runs: dict[str, RecordedRun | None] = {}
    found = {}
    for node in nodes:
        with contextlib.suppress(OSError):
            log = max(store.log_folder(records, node).glob("*.log"), key=lambda path: path.name, default=None)
            if log is None or log.stat().st_mtime <= store.last_built(records, node):
                continue
            if failure := _failure(store, log, node, runs):
                found[node] = failure
    return found


def _failure(store: Store, log: Path, node: str, runs: dict[str, RecordedRun | None]) -> LastFailure | None:
    """Return the failure of a node in the run that wrote its newest log; None if it was built, or is built now."""
    if log.stem not in runs:
        runs[log.stem] = _run(store.path / "events" / f"{log.stem}.jsonl")
    run = runs[log.stem]
    last = run.nodes.get(node) if run else None
    if run is None or last is None or last.status in (Status.BUILT, Status.CACHED, Status.SKIPPED):
        return None
    if last.status is None and run.is_running:
        return None
    return LastFailure(last.finished or run.last_moment, log, _message(last), last.machine, last.machine_root)


def _run(file: Path) -> RecordedRun | None:
    from stagewright.engine.recorded_runs import read_run

    with contextlib.suppress(OSError):
        return read_run(file)
    return None


def _message(node: NodeRun) -> str:
    return str(node.error["message"]) if node.error and node.status is Status.FAILED else ""
