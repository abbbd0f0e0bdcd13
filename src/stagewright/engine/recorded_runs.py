"""Recorded runs: what each node of a run did and when, read from the events in the store."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.events import (
    Event,
    NodeFinished,
    NodeMoved,
    NodeNotice,
    NodePhase,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Status,
)


@dataclass
class NodeRun:
    """A node in a run. Times are seconds since the epoch; ``phases`` are the begins of its phases.

    ``status`` is None while the node is built or waits. ``error`` is :meth:`StagewrightError.to_dict`. ``log`` is the
    file with the output of its commands. ``step`` is the newest progress: done, total and name. ``machine`` is the
    machine of a farm that builds or built it; empty for the machine of the run. ``machine_root`` is the folder in which
    that machine keeps the root of the failed build.
    """

    node: str
    kind: str = ""
    key: str = ""
    log: str = ""
    started: float | None = None
    finished: float | None = None
    status: Status | None = None
    size: int = 0
    phases: list[tuple[float, str]] = field(default_factory=list)
    step: tuple[int, int, str] | None = None
    notices: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    waits: bool = False
    machine: str = ""
    machine_root: str = ""

    @property
    def seconds(self) -> float:
        """The time from the start of the node to its end; 0 if it did not start or has not ended."""
        return self.finished - self.started if self.started and self.finished else 0.0


@dataclass
class RecordedRun:
    """A run: its project, its nodes in the order of the plan, and how it ended.

    ``records`` is the name of the project's records in the store. ``inputs`` are the nodes that each node of the plan
    takes; a node that is not in ``nodes`` came from the store. ``status`` and ``finished`` are None if the run has not
    ended; ``is_running`` is False then if it was killed.
    """

    run: str
    project: str
    folder: str
    records: str
    started: float
    nodes: dict[str, NodeRun]
    inputs: Mapping[str, Sequence[str]]
    cached: int
    finished: float | None = None
    status: Status | None = None
    is_running: bool = False

    @property
    def last_moment(self) -> float:
        """The time of its end, or of its last event."""
        times = [moment for node in self.nodes.values() for moment in (node.started, node.finished) if moment]
        phases = [moment for node in self.nodes.values() for moment, _ in node.phases[-1:]]
        return self.finished or max([self.started, *times, *phases])

    def count(self, status: Status) -> int:
        """Return the number of nodes that ended this way."""
        return sum(node.status is status for node in self.nodes.values())


def recorded_runs(store: Path) -> Iterator[RecordedRun]:
    """Yield the runs that a store has recorded, newest first. Raises PermissionError if this user cannot see them."""
    try:
        files = [file for file in (store / "events").iterdir() if file.suffix == ".jsonl"]
    except (FileNotFoundError, NotADirectoryError):
        return
    for file in sorted(files, reverse=True):
        with contextlib.suppress(FileNotFoundError):  # removed by a collection meanwhile
            if run := read_run(file):
                yield run


def find_run(store: Path, run: str) -> RecordedRun:
    """Return the run with this id. Raises: UNKNOWN_NAME if the store has not recorded it."""
    file = store / "events" / f"{run}.jsonl"
    found = read_run(file) if "/" not in run and file.is_file() else None
    if found is None:
        what = f"{run!r} is not a run that the store {store} has recorded"
        raise StagewrightError(Reason.UNKNOWN_NAME, what, hint="stagewright history lists the runs")
    return found


def read_run(file: Path) -> RecordedRun | None:
    """Return the run in a file of events; None if its first line is not complete.

    A last line that is cut off, and lines of other versions, are ignored.
    """
    found: RecordedRun | None = None
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                event = Event.from_json(line)
            except (ValueError, KeyError):
                continue
            if isinstance(event, RunStarted):
                found = _started(event)
            elif found:
                _add(found, event)
        if found and found.status is None:
            found.is_running = _is_locked(stream.fileno())
    return found


def _started(event: RunStarted) -> RecordedRun:
    return RecordedRun(
        run=event.run,
        project=event.project,
        folder=event.folder,
        records=event.records,
        started=event.time,
        nodes={name: NodeRun(name) for name in event.nodes},
        inputs=event.inputs,
        cached=event.cached,
    )


def _add(run: RecordedRun, event: Event) -> None:
    if isinstance(event, RunFinished):
        run.finished, run.status = event.time, event.status
        return
    name = getattr(event, "node", None)
    node = run.nodes.get(name) if isinstance(name, str) else None
    if node is None:
        return
    match event:
        case NodeStarted():
            node.kind, node.key, node.log, node.machine = event.kind, event.key, event.log, event.machine
            node.started, node.waits = event.time, False
        case NodeMoved():
            node.machine = event.machine
        case NodeWaiting():
            node.waits = True
        case NodePhase():
            node.phases.append((event.time, event.phase))
            node.step = None
        case NodeProgress():
            node.step = (event.done, event.total, event.name)
        case NodeNotice():
            node.notices.append(event.text)
        case NodeFinished():
            node.status, node.finished, node.size, node.error = event.status, event.time, event.size, event.error
            node.waits, node.machine_root = False, event.machine_root


def _is_locked(descriptor: int) -> bool:
    """Return True if the process that writes a file of events still has its lock (engine/event_log.py)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
