"""Pinning: what moves in the world is looked up once, written into ``stagewright.lock``, and then stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stagewright.engine.job import Job
from stagewright.engine.process import Worker
from stagewright.errors import StagewrightError
from stagewright.events import Event, Listener, NodeFinished, NodeStarted
from stagewright.graph.keys import Key
from stagewright.project.lock import Lock, Pin
from stagewright.project.model import Entry, Project
from stagewright.stages.base import Stage
from stagewright.stages.registry import graph_of
from stagewright.store.store import Store, write_atomically


@dataclass(frozen=True)
class Moved:
    """A pin that changed: the seed, and the pin before and after."""

    name: str
    old: Pin | None
    new: Pin

    def lines(self) -> list[str]:
        """What moved, a line each."""
        if self.old is None:
            return [f"{self.name}: pinned"]
        lines = []
        for key in sorted({*self.old, *self.new} - {"resolved"}):
            before, after = self.old.get(key), self.new.get(key)
            if isinstance(before, list) and isinstance(after, list):
                lines += [f"{self.name}: -{item}" for item in before if item not in after]
                lines += [f"{self.name}: +{item}" for item in after if item not in before]
            elif before != after:
                lines.append(f"{self.name}: {key} {before} -> {after}")
        return lines or [f"{self.name}: nothing moved"]


def request_of(model: Stage) -> str:
    """The digest of the settings that a pin answers; a pin with another one is stale."""
    return Key.of(model.model_dump(mode="json")).digest


def unpinned(project: Project, targets: Iterable[str]) -> list[str]:
    """The seeds that the targets need and that have no pin, or one for other settings."""
    return [
        entry.name
        for entry in _moving(project, targets)
        if project.lock.seeds.get(entry.name, {}).get("request") != request_of(_stage(entry))
    ]


def pin(
    project: Project, store: Store, names: Iterable[str], listeners: Iterable[Listener]
) -> tuple[Project, list[Moved]]:
    """Pin seeds anew, write the lock, and return the project with it and what moved."""
    lock, moved = project.lock, []
    for name in names:
        entry = project.entries["seeds"][name]
        found = _ask(project, store, entry, list(listeners))
        new = {"request": request_of(_stage(entry)), "resolved": time.strftime("%Y-%m-%d"), **found}
        moved.append(Moved(name, lock.seeds.get(name), new))
        lock = lock.with_seed(name, new)
        save(lock)
    return replace(project, lock=lock), moved


def save(lock: Lock) -> None:
    """Write the lock file, whole or not at all."""
    write_atomically(lock.file, lock.text())


def _moving(project: Project, targets: Iterable[str]) -> list[Entry]:
    graph = graph_of(project)
    chosen = list(targets) or list(graph.targets)
    needed = graph.closure(node for target in chosen for node in graph.targets[target])
    return [
        entry
        for name, entry in project.entries["seeds"].items()
        if _stage(entry).moves and needed.intersection(graph.targets[name])
    ]


def _stage(entry: Entry) -> Stage:
    assert isinstance(entry.model, Stage)
    return entry.model


def _ask(project: Project, store: Store, entry: Entry, listeners: list[Listener]) -> Mapping[str, Any]:
    node_id = f"seed:{entry.name}"
    node = graph_of(project).nodes[node_id]
    log = store.log_folder(project.info.name, node_id) / f"pin-{time.strftime('%Y%m%d-%H%M%S')}.log"
    key = Key.of({"pin": entry.name, "request": request_of(_stage(entry))})
    job = Job.of(project.info.name, node, key, {}, store.path, log, 1, node.memory)

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    emit(NodeStarted(node=node_id, kind="pin", key=key.digest, log=str(log)))
    with store.scratch("pin") as folder:
        result = _attend(Worker.start(job, folder, mode="pin"), emit)
        emit(NodeFinished(node=node_id, status=result.status, seconds=result.seconds, error=result.error))
        if result.error:
            raise StagewrightError.from_dict(result.error)
        found: Mapping[str, Any] = json.loads((folder / "pin.json").read_text())
    return found


def _attend(worker: Worker, emit: Listener) -> NodeFinished:
    """Wait for a worker, pass on what it says, and return how it ended."""
    try:
        while not worker.ended:
            for event in worker.events():
                emit(event)
            time.sleep(0.05)
        for event in worker.events():
            emit(event)
    finally:
        worker.kill()
        worker.close()
    return worker.outcome()
