"""Pins: what a repository or seed stands for is looked up once, written into ``stagewright.lock``, and kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagewright.engine.doctor import require, require_for_repos
from stagewright.engine.job import Job, limits_of
from stagewright.engine.plan import check_targets
from stagewright.engine.repositories import source_of
from stagewright.engine.single import ask_worker, reported
from stagewright.engine.workspace import Workspace
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError, nearest
from stagewright.graph.keys import Key
from stagewright.graph.node import Graph
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.work import Grant
from stagewright.kinds.releases.release import Release
from stagewright.project.limits import NodeLimits
from stagewright.project.lock import Lock, Pin, request_digest
from stagewright.project.model import Entry, Project
from stagewright.repos.git import CommitRange
from stagewright.store.durable import write_atomically


@dataclass(frozen=True, order=True)
class PinTarget:
    """Something that is pinned: its table in the lock (``repos``, ``seeds`` or ``releases``), and its name."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{'repository' if self.is_repository else self.table[:-1]} {self.name}"

    @property
    def is_repository(self) -> bool:
        """True if it is a repository, False if it is a seed or a release."""
        return self.table == "repos"

    @property
    def node(self) -> str:
        """The node id that events name."""
        return f"{self.table[:-1]}:{self.name}"


@dataclass(frozen=True)
class PinChange:
    """A pin that was looked up again: the pin before and after, and the commits between them if they are known."""

    target: PinTarget
    old: Pin | None
    new: Pin
    commits: CommitRange | None = None

    @property
    def unchanged(self) -> bool:
        """True if the new pin stands for the same state as the old one."""
        return self.old is not None and _facts(self.old) == _facts(self.new)

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON-able data."""
        commits = {"count": self.commits.count, "subjects": list(self.commits.subjects)} if self.commits else None
        return {
            "table": self.target.table,
            "name": self.target.name,
            "moved": not self.unchanged,
            "old": self.old and dict(self.old),
            "new": dict(self.new),
            "commits": commits,
        }


def _facts(pin: Pin) -> dict[str, Any]:
    return {key: value for key, value in pin.items() if key not in ("request", "resolved")}


def request_of(model: Stage, project: Project | None = None) -> str:
    """Return the digest of the settings that a pin is for: those of a seed, or a release's place and own version."""
    if project and isinstance(model, Release):  # a new version has another release before
        return request_digest({"previous": model.previous, "version": project.info.version})
    data = model.model_dump(mode="json")
    limits = {name: value for name, value in data.pop("limits").items() if name not in NodeLimits.model_fields}
    return request_digest({**data, "limits": limits} if limits else data)


def movable(project: Project) -> list[PinTarget]:
    """Return everything of a project that is pinned, repositories first."""
    repos = [PinTarget("repos", name) for name, repo in project.repos.items() if repo.moves]
    entries = [(table, entry) for table in ("seeds", "releases") for entry in project.entries.get(table, {}).values()]
    return [*repos, *(PinTarget(table, entry.name) for table, entry in entries if _is_pinned(_stage(entry)))]


def _is_pinned(model: Stage) -> bool:
    return model.moves or (isinstance(model, Release) and model.previous is not None)


def chosen(project: Project, names: Sequence[str]) -> list[PinTarget]:
    """Return the repositories and seeds with these names; all that are pinned if there are no names.

    Raises ``UNKNOWN_NAME`` if there is no repository or seed of a name, or it is not pinned.
    """
    known = movable(project)
    for name in names:
        if all(target.name != name for target in known):
            hint = nearest(name, [target.name for target in known])
            what = f"{name!r} is not a repository, seed or release that is pinned"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=hint or "this project pins nothing")
    return [target for target in known if not names or target.name in names]


def needed(workspace: Workspace, targets: Iterable[str]) -> list[PinTarget]:
    """Return what is pinned and the targets need; everything that is pinned if there are no targets."""
    project, graph, names = workspace.project, workspace.graph, list(targets)
    if not names:
        return movable(project)
    nodes = graph.closure(node for name in check_targets(workspace, names) for node in graph.targets[name])
    return [target for target in movable(project) if is_needed(target, graph, nodes)]


def unpinned(workspace: Workspace, targets: Iterable[str]) -> list[PinTarget]:
    """Return what the targets need and the lock does not pin, or pins for other settings."""
    return [target for target in needed(workspace, targets) if _pin_of(workspace.project, target) is None]


def require_pins(workspace: Workspace, targets: Iterable[str] = ()) -> None:
    """Raise ``LOCK_STALE`` if there is no lock file, or if it does not pin everything that the targets need."""
    lock, pending = workspace.project.lock, unpinned(workspace, targets)
    if pending or not lock.file.exists():
        names = "".join(f" {target.name}" for target in pending)
        raise StagewrightError(
            Reason.LOCK_STALE,
            f"{lock.file.name} does not pin {', '.join(map(str, pending)) or 'anything'}",
            place=place_of(workspace.project, pending[0]) if pending else None,
            hint=f"run stagewright update{names} and keep the file under version control",
        )


def look_up(workspace: Workspace, targets: Sequence[PinTarget]) -> Iterator[PinChange]:
    """Look up what each of these stands for now; the lock is not written.

    One that fails does not keep the others from being looked up: what went wrong is raised at the end.
    """
    _require_tools(workspace, targets)
    problems: list[StagewrightError] = []
    for target in targets:
        try:
            yield _look_up(workspace, target)
        except StagewrightError as error:
            place = place_of(workspace.project, target)
            problems.append(error.at(place) if place else error)
    if problems:
        raise problems[0] if len(problems) == 1 else ProblemsError(problems)


def save(lock: Lock) -> None:
    """Write the lock file atomically."""
    lock.file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(lock.file, lock.text())


def place_of(project: Project, target: PinTarget) -> Place | None:
    """Return where the project file defines the repository or seed."""
    if target.is_repository:
        return project.repo_places.get(target.name)
    return project.entries[target.table][target.name].place()


def _require_tools(workspace: Workspace, targets: Sequence[PinTarget]) -> None:
    """Raise everything that these look-ups need of this machine and is missing."""
    require_for_repos(workspace.project.repos[target.name] for target in targets if target.is_repository)
    seeds = [workspace.graph.nodes[target.node] for target in targets if not target.is_repository]
    if seeds:
        require(workspace.store, seeds)


def is_needed(target: PinTarget, graph: Graph, nodes: set[str]) -> bool:
    """Return True if one of some nodes is made from a repository or seed."""
    if target.is_repository:
        return any(target.name in graph.nodes[node].files.repos for node in nodes)
    return bool(nodes.intersection(graph.targets[target.name]))


def _request(project: Project, target: PinTarget) -> str:
    """Return the digest of the settings that a pin is for; a pin with another digest is stale."""
    if target.is_repository:
        return request_digest(project.repos[target.name].request)
    return request_of(_stage(project.entries[target.table][target.name]), project)


def _pin_of(project: Project, target: PinTarget) -> Pin | None:
    """Return the pin for the present settings, or None."""
    found = project.lock.pins(target.table).get(target.name)
    return found if found and found.get("request") == _request(project, target) else None


def _stage(entry: Entry) -> Stage:
    assert isinstance(entry.model, Stage)
    return entry.model


def _look_up(workspace: Workspace, target: PinTarget) -> PinChange:
    project, commits = workspace.project, None
    old = project.lock.pins(target.table).get(target.name)
    if target.is_repository:
        with source_of(workspace, target.name, "pin") as source:
            found: Mapping[str, Any] = source.resolve(_pin_of(project, target))
            commits = source.commits_between(old, found)
    else:
        found = _look_up_entry(workspace, target)
    new = {"request": _request(project, target), "resolved": time.strftime("%Y-%m-%d"), **found}
    return PinChange(target, old, new, commits)


def _look_up_entry(workspace: Workspace, target: PinTarget) -> Mapping[str, Any]:
    """Have a worker look up what a seed or a release stands for."""
    project, node = workspace.project, workspace.graph.nodes[target.node]
    log = workspace.log_file(node.id, "pin")
    key = Key.of({"pin": target.name, "request": _request(project, target)})
    job = Job(
        project=project.info.name,
        project_folder=project.folder.resolve(),
        node=node,
        key=key,
        inputs={},
        grant=Grant(1, node.demand.memory),
        limits=limits_of(node, project),
        store=workspace.store.path,
        log=log,
    )
    with reported(workspace.emit, node.id, "pin", key.digest, log):
        found: Mapping[str, Any] = ask_worker(workspace, job, "pin", "pin.json")
    return found
