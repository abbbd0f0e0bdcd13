"""Pins: what a repository or seed stands for is looked up once, written into ``stagewright.lock``, and kept."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stagewright.engine.plan import check_targets, make_plan
from stagewright.engine.project_files import give_to_invoker, writing
from stagewright.engine.side_by_side import side_by_side
from stagewright.engine.targets import names_of
from stagewright.engine.workspace import Workspace
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.graph.node import Graph, Node, Yields
from stagewright.kinds.common.base import Stage
from stagewright.lazy_dataclass import dataclass
from stagewright.project.lock import Lock, Pin, request_digest
from stagewright.project.model import Entry, Project

if TYPE_CHECKING:
    from stagewright.repos.git import CommitRange

_PINNED = "a repository, seed, release or live package of this project that is pinned"


@dataclass(frozen=True, order=True)
class PinTarget:
    """Something that is pinned: its table in the lock, and its name. The name of a live package is its atom."""

    table: str
    name: str

    def __str__(self) -> str:
        names = {"repos": "repository", "online": "live package"}
        return f"{names.get(self.table, self.table[:-1])} {self.name}"

    @property
    def is_repository(self) -> bool:
        """True if it is a repository."""
        return self.table == "repos"

    @property
    def is_online(self) -> bool:
        """True if it is a live package, which is looked up in the root of a stage."""
        return self.table == "online"

    @property
    def node(self) -> str:
        """The node id that events name."""
        return f"{'live' if self.is_online else self.table[:-1]}:{self.name}"


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
    return request_digest(model.pinned_settings(project))


def movable(project: Project) -> list[PinTarget]:
    """Return everything of a project that is pinned, repositories first, live packages last."""
    repos = [PinTarget("repos", name) for name, repo in project.repos.items() if repo.moves]
    entries = [(table, entry) for table in ("seeds", "releases") for entry in project.entries.get(table, {}).values()]
    live = [atom for entry in project.all_entries() for atom in getattr(entry.model, "online", ())]
    return [
        *repos,
        *(PinTarget(table, entry.name) for table, entry in entries if _stage(entry).is_pinned()),
        *(PinTarget("online", atom) for atom in dict.fromkeys(live)),
    ]


def chosen(project: Project, names: Sequence[str]) -> list[PinTarget]:
    """Return what is pinned and has these names; everything that is pinned if there are no names.

    Raises ``UNKNOWN_NAME`` if nothing that is pinned has a name.
    """
    known = movable(project)
    wanted = names_of(names, {target.name: target.node for target in known}, _PINNED)
    return [target for target in known if not names or target.name in wanted]


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
    for target, result in _results(workspace, targets):
        try:
            yield result()
        except StagewrightError as error:
            place = place_of(workspace.project, target)
            problems.append(error.at(place) if place else error)
    if problems:
        raise problems[0] if len(problems) == 1 else ProblemsError(problems)


def _results(workspace: Workspace, targets: Sequence[PinTarget]) -> Iterator[tuple[PinTarget, Callable[[], PinChange]]]:
    """Yield targets with functions that return what they stand for, or raise. Entries are looked up side by side."""
    entries = [target for target in targets if not target.is_repository and not target.is_online]
    together = {target.node: target for target in entries} if len(entries) > 1 else {}
    for target in targets:
        if target.node not in together:
            yield target, functools.partial(_look_up, workspace, target)
    for target, future in side_by_side(workspace, _look_up, together) if together else ():
        yield target, future.result


def save(lock: Lock) -> None:
    """Write the lock file atomically."""
    from stagewright.store.durable import write_atomically

    with writing(lock.file, "stagewright.lock"):
        lock.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(lock.file, lock.text())
        give_to_invoker(lock.file)


def place_of(project: Project, target: PinTarget) -> Place | None:
    """Return where the project file defines the repository or seed."""
    if target.is_repository:
        return project.repo_places.get(target.name)
    if target.is_online:
        users = (entry for entry in project.all_entries() if target.name in getattr(entry.model, "online", ()))
        return next((entry.place(("online",)) for entry in users), None)
    return project.entries[target.table][target.name].place()


def _require_tools(workspace: Workspace, targets: Sequence[PinTarget]) -> None:
    """Raise everything that these look-ups need of this machine and is missing."""
    from stagewright.engine.doctor import require, require_for_repos

    require_for_repos(workspace.project.repos[target.name] for target in targets if target.is_repository)
    graph = workspace.graph
    live = [live_owner(graph, target.name) for target in targets if target.is_online]
    others = [graph.nodes[target.node] for target in targets if not target.is_repository and not target.is_online]
    if nodes := [*others, *live]:
        require(workspace.store, nodes)


def live_owner(graph: Graph, atom: str) -> Node:
    """Return the first node that has a live package in its setting ``online``: its root fetches the source."""
    return next(node for name in graph.order() if atom in getattr((node := graph.nodes[name]).settings, "online", ()))


def parts(targets: Sequence[PinTarget]) -> list[list[PinTarget]]:
    """Divide targets into groups for look-ups: each live package alone and last, as its root can need other pins."""
    others = [target for target in targets if not target.is_online]
    return [*([others] if others else []), *([target] for target in targets if target.is_online)]


def live_root(workspace: Workspace, target: PinTarget) -> str:
    """Return the name of the stage or seed in whose root a live package is looked up."""
    from stagewright.kinds.common.packages import PackageStage

    settings = live_owner(workspace.graph, target.name).settings
    assert isinstance(settings, PackageStage), "other kinds do not have the setting"
    return settings.root


def is_needed(target: PinTarget, graph: Graph, nodes: set[str]) -> bool:
    """Return True if one of some nodes is made from what is pinned."""
    if target.is_repository:
        return any(target.name in graph.nodes[node].files.repos for node in nodes)
    if target.is_online:
        return any(target.name in getattr(graph.nodes[node].settings, "online", ()) for node in nodes)
    return bool(nodes.intersection(graph.targets[target.name]))


def _request(project: Project, target: PinTarget) -> str:
    """Return the digest of the settings that a pin is for; a pin with another digest is stale."""
    if target.is_repository:
        return request_digest(project.repos[target.name].request)
    if target.is_online:
        return request_digest({"online": target.name})
    return request_of(_stage(project.entries[target.table][target.name]), project)


def _pin_of(project: Project, target: PinTarget) -> Pin | None:
    """Return the pin for the present settings, or None."""
    found = project.lock.pins(target.table).get(target.name)
    return found if found and found.get("request") == _request(project, target) else None


def _stage(entry: Entry) -> Stage:
    assert isinstance(entry.model, Stage)
    return entry.model


def _look_up(workspace: Workspace, target: PinTarget) -> PinChange:
    from stagewright.engine.repositories import source_of

    project, commits = workspace.project, None
    old = project.lock.pins(target.table).get(target.name)
    if target.is_repository:
        with source_of(workspace, target.name, "pin") as source:
            found: Mapping[str, Any] = source.resolve(_pin_of(project, target))
            commits = source.commits_between(old, found)
    elif target.is_online:
        found = _look_up_live(workspace, target)
    else:
        found = _look_up_entry(workspace, target)
    new = {"request": _request(project, target), "resolved": time.strftime("%Y-%m-%d"), **found}
    return PinChange(target, old, new, commits)


def _look_up_entry(workspace: Workspace, target: PinTarget) -> Mapping[str, Any]:
    """Have a worker look up what a seed or a release stands for."""
    node = workspace.graph.nodes[target.node]
    key = Key.of({"pin": target.name, "request": _request(workspace.project, target)})
    return _ask_for_pin(workspace, target, node, key, {})


def _look_up_live(workspace: Workspace, target: PinTarget) -> Mapping[str, Any]:
    """Have a worker fetch the source of a live package in the root of a stage, which is built already."""
    from stagewright.kinds.common.packages import PackageStage

    owner = live_owner(workspace.graph, target.name)
    assert isinstance(owner.settings, PackageStage), "other kinds do not have the setting"
    settings = owner.settings.model_copy(update={"online": [target.name]})
    node = replace(owner, settings=settings)
    plan = make_plan(workspace, [name for name, ids in workspace.graph.targets.items() if owner.id in ids][:1])
    root = plan.inputs_of(owner)["root"]
    return _ask_for_pin(workspace, target, node, plan.steps[owner.id].key, {"root": root})


def _ask_for_pin(
    workspace: Workspace, target: PinTarget, node: Node, key: Key, inputs: Mapping[str, tuple[Yields, str]]
) -> Mapping[str, Any]:
    """Have a worker look up a pin for a node."""
    from stagewright.engine.job import Job, limits_of
    from stagewright.engine.single import ask_worker, reported
    from stagewright.kinds.common.work import Grant

    project, log = workspace.project, workspace.log_file(node.id, "pin")
    job = Job(
        project=project.info.name,
        project_folder=project.folder.resolve(),
        node=node,
        key=key,
        inputs=inputs,
        grant=Grant(1, node.demand.memory),
        limits=limits_of(node, project),
        store=workspace.store.path,
        log=log,
    )
    with reported(workspace.emit, target.node, "pin", key.digest, log):
        found: Mapping[str, Any] = ask_worker(workspace, job, "pin", "pin.json")
    return found
