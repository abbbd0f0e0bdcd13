"""Pinning: what moves in the world is looked up once, written into ``stagewright.lock``, and then stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stagewright.engine.doctor import require, require_for_repos
from stagewright.engine.job import Job
from stagewright.engine.repositories import REPO, origin
from stagewright.engine.worker_process import Worker
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.events import Event, Listener, NodeFinished, NodeNotice, NodeStarted
from stagewright.graph.keys import Key
from stagewright.graph.node import Graph
from stagewright.kinds.common.base import Stage
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load
from stagewright.project.lock import Lock, Pin, request_digest
from stagewright.project.model import Entry, Project
from stagewright.repos.git import CommitRange
from stagewright.store.store import Store, write_atomically


@dataclass(frozen=True, order=True)
class Subject:
    """Something that is pinned: the table of the lock that it is in (``repos`` or ``seeds``), and its name."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{'repository' if self.table == 'repos' else 'seed'} {self.name}"

    @property
    def node(self) -> str:
        """What events call it."""
        return f"{self.table[:-1]}:{self.name}"


@dataclass(frozen=True)
class Moved:
    """A pin that was looked up anew: the pin before and after, and what lies between where that can be told."""

    subject: Subject
    old: Pin | None
    new: Pin
    between: CommitRange | None = None

    @property
    def same(self) -> bool:
        """Whether it stands for what it stood for before."""
        return self.old is not None and _facts(self.old) == _facts(self.new)

    def lines(self) -> list[str]:
        """What moved, a line each."""
        name, old, new = self.subject.name, self.old, self.new
        if self.subject.table == "repos":
            return self._lines_of_repo()
        if old is None:
            return [f"{name}: pinned"]
        lines = []
        for key in sorted({*old, *new} - {"resolved"}):
            before, after = old.get(key), new.get(key)
            if isinstance(before, list) and isinstance(after, list):
                lines += [f"{name}: -{item}" for item in before if item not in after]
                lines += [f"{name}: +{item}" for item in after if item not in before]
            elif before != after:
                lines.append(f"{name}: {key} {before} -> {after}")
        return lines or [f"{name}: nothing moved"]

    def _lines_of_repo(self) -> list[str]:
        name, old, new = self.subject.name, self.old, self.new
        if old is None:
            return [f"{name}: pinned to {_state(new)}"]
        if self.same:
            return [f"{name}: nothing moved, {_state(new)}"]
        lines = [f"{name}: {_state(old)} -> {_state(new)}"]
        if self.between:
            count, subjects = self.between.count, self.between.subjects
            lines.append(f"{name}: {count} commit{'' if count == 1 else 's'}")
            lines += [f"  {subject}" for subject in subjects]
            lines += [f"  and {count - len(subjects)} more"] if count > len(subjects) else []
        elif "commit" in old and "commit" in new:
            lines.append(
                f"{name}: what lies between cannot be told: the old commit is not part of what led to the new one"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """What moved, for programs."""
        told = {"table": self.subject.table, "name": self.subject.name, "moved": not self.same}
        commits = {"count": self.between.count, "subjects": list(self.between.subjects)} if self.between else None
        return {**told, "old": self.old and dict(self.old), "new": dict(self.new), "commits": commits}


def _facts(pin: Pin) -> dict[str, Any]:
    return {key: value for key, value in pin.items() if key not in ("request", "resolved")}


def _state(pin: Pin) -> str:
    """A pinned state of a repository in a few words."""
    return f"{pin['date']} ({pin['commit'][:12]})" if "commit" in pin else str(pin.get("file", pin.get("tree")))


def request_of(model: Stage) -> str:
    """The digest of a seed's settings, which its pin answers."""
    return request_digest(model.model_dump(mode="json"))


def movable(project: Project) -> list[Subject]:
    """Everything of a project that is pinned, repositories first."""
    repos = [Subject("repos", name) for name, repo in project.repos.items() if repo.moves]
    return [
        *repos,
        *(Subject("seeds", entry.name) for entry in project.entries["seeds"].values() if _stage(entry).moves),
    ]


def needed(project: Project, targets: Iterable[str]) -> list[Subject]:
    """What is pinned and the targets need; everything that is pinned when none are named."""
    graph, chosen = graph_of(project), list(targets)
    if not chosen:
        return movable(project)
    nodes = graph.closure(node for target in chosen for node in graph.targets[target])
    return [subject for subject in movable(project) if _is_needed(subject, graph, nodes)]


def unpinned(project: Project, targets: Iterable[str]) -> list[Subject]:
    """What the targets need and has no pin, or one for other settings."""
    return [subject for subject in needed(project, targets) if _pin_of(project, subject) is None]


def settle(
    project: Project, store: Store, targets: Sequence[str], listeners: Iterable[Listener], *, locked: bool
) -> Project:
    """Pin what the targets need and is not pinned; the project as it is then, checked again with what was found.

    ``locked`` raises ``LOCK_STALE`` instead, with the names.
    """
    listeners = list(listeners)
    subjects = unpinned(project, targets)
    if locked:
        _refuse(project, subjects)
    for subject in subjects:
        if subject.name in project.lock.pins(subject.table):
            text = f"the lock pins {subject} for other settings: it is looked up anew"
            _tell(listeners, NodeNotice(node=subject.node, text=text))
    if not subjects and not project.lock.file.exists():
        save(project.lock)
    return pin(project, store, subjects, listeners)[0]


def require_pins(project: Project, targets: Iterable[str] = ()) -> None:
    """Raise ``LOCK_STALE`` with the names of what the targets need and the lock does not pin, or not as it is set."""
    _refuse(project, unpinned(project, targets))


def _refuse(project: Project, subjects: Sequence[Subject]) -> None:
    """Raise ``LOCK_STALE`` if these are any, or if there is no lock."""
    if subjects or not project.lock.file.exists():
        raise StagewrightError(
            Reason.LOCK_STALE,
            f"{project.lock.file.name} does not pin {', '.join(map(str, subjects)) or 'anything'}",
            place=place_of(project, subjects[0]) if subjects else None,
            hint=f"run stagewright update{_names(subjects)} and keep the file under version control",
        )


def pin(
    project: Project, store: Store, subjects: Iterable[Subject], listeners: Iterable[Listener]
) -> tuple[Project, list[Moved]]:
    """Pin anew, write the lock, and return the project with it, checked again, and what moved."""
    listeners, subjects, moved = list(listeners), list(subjects), []
    _require(project, store, subjects)
    for item in _each(project, store, subjects, listeners):
        moved.append(item)
        project = _with(project, item)
        save(project.lock)
    if any(item.subject.table == "repos" for item in moved):
        project = load(project.folder, kinds(), project.trees)
    return project, moved


def look_up(
    project: Project, store: Store, subjects: Iterable[Subject], listeners: Iterable[Listener]
) -> tuple[Project, list[Moved]]:
    """Like :func:`pin`, but the lock stays as it is, and the project is not checked again."""
    listeners, subjects = list(listeners), list(subjects)
    _require(project, store, subjects)
    moved = list(_each(project, store, subjects, listeners))
    for item in moved:
        project = _with(project, item)
    return project, moved


def _each(
    project: Project, store: Store, subjects: Iterable[Subject], listeners: Sequence[Listener]
) -> Iterator[Moved]:
    """Look up one after the other; what is wrong with some is raised when all the others are done."""
    problems: list[StagewrightError] = []
    for subject in subjects:
        try:
            yield _look_up(project, store, subject, listeners)
        except StagewrightError as error:
            problems.append(error)
    if problems:
        raise problems[0] if len(problems) == 1 else ProblemsError(problems)


def _with(project: Project, moved: Moved) -> Project:
    lock = project.lock.with_pin(moved.subject.table, moved.subject.name, moved.new)
    return replace(project, lock=lock)


def save(lock: Lock) -> None:
    """Write the lock file, whole or not at all."""
    write_atomically(lock.file, lock.text())


def place_of(project: Project, subject: Subject) -> Place | None:
    """Where the project says of it."""
    if subject.table == "repos":
        return project.repo_places.get(subject.name)
    return project.entries["seeds"][subject.name].place()


def _require(project: Project, store: Store, subjects: Sequence[Subject]) -> None:
    """Raise what this machine lacks for looking these up."""
    require_for_repos(project.repos[subject.name] for subject in subjects if subject.table == "repos")
    seeds = [subject.node for subject in subjects if subject.table == "seeds"]
    if seeds:
        nodes = graph_of(project).nodes
        require(store, [nodes[node] for node in seeds])


def _names(subjects: Iterable[Subject]) -> str:
    return "".join(f" {subject.name}" for subject in subjects)


def _is_needed(subject: Subject, graph: Graph, nodes: set[str]) -> bool:
    if subject.table == "seeds":
        return bool(nodes.intersection(graph.targets[subject.name]))
    return any(REPO + subject.name in graph.nodes[node].files for node in nodes)


def _request(project: Project, subject: Subject) -> str:
    """The digest of the settings that a pin answers; a pin with another one is stale."""
    if subject.table == "repos":
        return request_digest(project.repos[subject.name].request)
    return request_of(_stage(project.entries["seeds"][subject.name]))


def _pin_of(project: Project, subject: Subject) -> Pin | None:
    """The pin of something, if it has one for its present settings."""
    found = project.lock.pins(subject.table).get(subject.name)
    return found if found and found.get("request") == _request(project, subject) else None


def _stage(entry: Entry) -> Stage:
    assert isinstance(entry.model, Stage)
    return entry.model


def _look_up(project: Project, store: Store, subject: Subject, listeners: Sequence[Listener]) -> Moved:
    """What something stands for now, and what it stood for before."""
    found, between = _resolve(project, store, subject, listeners)
    new = {"request": _request(project, subject), "resolved": time.strftime("%Y-%m-%d"), **found}
    return Moved(subject, project.lock.pins(subject.table).get(subject.name), new, between)


def _resolve(
    project: Project, store: Store, subject: Subject, listeners: Sequence[Listener]
) -> tuple[Mapping[str, Any], CommitRange | None]:
    """What something stands for now, and for a repository the commits since its last pin."""
    try:
        if subject.table == "seeds":
            return _ask(project, store, project.entries["seeds"][subject.name], listeners), None
        with origin(project, store, subject.name, "pin", listeners) as source:
            found = source.find(_pin_of(project, subject))
            between = source.commits_between(project.lock.repos.get(subject.name), found)
        return found, between
    except StagewrightError as error:
        place = place_of(project, subject)
        raise (error.at(place) if place else error) from error


def _ask(project: Project, store: Store, entry: Entry, listeners: Sequence[Listener]) -> Mapping[str, Any]:
    node_id = f"seed:{entry.name}"
    node = graph_of(project).nodes[node_id]
    log = store.log_folder(project.info.name, node_id) / f"pin-{time.strftime('%Y%m%d-%H%M%S')}.log"
    key = Key.of({"pin": entry.name, "request": _request(project, Subject("seeds", entry.name))})
    job = Job.of(project.info.name, node, key, {}, store.path, log, 1, node.memory)
    _tell(listeners, NodeStarted(node=node_id, kind="pin", key=key.digest, log=str(log)))
    with store.scratch("pin") as folder:
        result = attend(Worker.start(job, folder, mode="pin"), lambda event: _tell(listeners, event))
        ended = NodeFinished(node=node_id, status=result.status, seconds=result.seconds, error=result.error)
        _tell(listeners, ended)
        if result.error:
            raise StagewrightError.from_dict(result.error)
        found: Mapping[str, Any] = json.loads(Path(folder, "pin.json").read_text(encoding="utf-8"))
    return found


def _tell(listeners: Iterable[Listener], event: Event) -> None:
    for listener in listeners:
        listener(event)


def attend(worker: Worker, emit: Listener) -> NodeFinished:
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
