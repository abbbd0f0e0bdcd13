"""The plan: which nodes are in the store, which a build makes, and why."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stagewright.engine.last_failures import LastFailure, last_failures
from stagewright.engine.targets import name_of, names_of, target_ids
from stagewright.engine.workspace import Workspace
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import FilesRead, Listener
from stagewright.graph.code_digest import code_digest
from stagewright.graph.file_digest import ALL_BITS, REPOSITORY_BITS, tree_digest
from stagewright.graph.keys import Difference, Key, KeySources, differences, keys_of
from stagewright.graph.node import Graph, Node, Yields
from stagewright.kinds.common.artifact import OutputKind
from stagewright.kinds.common.base import Stage
from stagewright.kinds.registry import by_kind, module_of, tool_of
from stagewright.lazy_dataclass import dataclass
from stagewright.project.model import Project
from stagewright.store.digest_cache import DigestCache, ToolVersions
from stagewright.store.same_content import content_of, find_by_contents, key_by_contents
from stagewright.store.store import Store
from stagewright.store.tree_memory import FolderMemory

TARGET = "a stage, seed, test or release of this project"

ABSENT = "not there"
"""Stands in keys for the digest of a missing file, in a project that was loaded leniently."""


class State(enum.StrEnum):
    """The state of a node before a build, and so what the build does with it."""

    CACHED = "cached"  # nothing: it is in the store
    BUILD = "build"  # it is not in the store, and is built
    SKIP = "not needed"  # it is not in the store, and nothing that is built needs it


@dataclass(frozen=True)
class Step:
    """One node of a plan.

    ``first`` is True if it is built for the first time. ``why`` lists the entries of the key that differ from the last
    build; it is empty if the result was only removed from the store. ``same`` is the key of a
    result that was made of inputs with the same contents: it is taken, and not built again. ``content`` is then the
    digest of its content, and that of the inputs of this node. ``failure`` is its last build, if that failed.
    """

    node: Node
    key: Key
    state: State
    why: tuple[Difference, ...] = ()
    first: bool = False
    same: str = ""
    content: str = ""
    failure: LastFailure | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the step as JSON-able data."""
        return {
            "node": self.node.id,
            "kind": self.node.kind,
            "state": self.state.value,
            "key": self.key.digest,
            "inputs": dict(self.node.inputs),
            "first": self.first,
            "content": self.content or None,
            "same": self.same or None,
            "failure": self.failure.to_dict() if self.failure else None,
            "why": [
                {"entry": difference.entry, "old": difference.old, "new": difference.new} for difference in self.why
            ],
        }


@dataclass(frozen=True)
class Plan:
    """The steps of a build of some targets of a project."""

    project: Project
    graph: Graph
    targets: tuple[str, ...]
    steps: Mapping[str, Step]  # by node id, in build order
    closed_by: str = ""
    """The one user that can read the roots and the history of the store; "" if this user can."""

    @property
    def to_build(self) -> list[Step]:
        """The nodes that are built, in order."""
        return [step for step in self.steps.values() if step.state is State.BUILD]

    @property
    def sinks(self) -> list[str]:
        """The ids of the nodes that make the targets."""
        return [node for target in self.targets for node in self.graph.targets[target]]

    def inputs_of(self, node: Node) -> dict[str, tuple[Yields, str]]:
        """Return the inputs of a node by role: what each yields, and its key in the store."""
        return {
            role: (self.graph.nodes[source].yields, self.steps[source].key.digest)
            for role, source in node.inputs.items()
        }

    def keys(self) -> dict[str, str]:
        """Return the digests of the keys, by node id."""
        return {node_id: step.key.digest for node_id, step in self.steps.items()}


def make_plan(workspace: Workspace, targets: Iterable[str] = ()) -> Plan:
    """Plan the build of some targets; of all but seeds if there are none. Files are read, nothing is built."""
    project, store, graph = workspace.project, workspace.store, workspace.graph
    chosen = check_targets(workspace, targets)
    sinks = [node for target in chosen for node in graph.targets[target]]
    needed = graph.closure(sinks)
    part = Graph({node_id: graph.nodes[node_id] for node_id in sorted(needed)}, graph.targets)
    keys = _keys(workspace, part)
    present = {node_id for node_id in needed if store.has(graph.nodes[node_id].yields, keys[node_id].digest)}
    building = _missing(part, sinks, present)
    contents, failures = Contents(store), last_failures(store, project.records, building)
    steps: dict[str, Step] = {}
    for node_id in part.order():
        node, key = graph.nodes[node_id], keys[node_id]
        if node_id in building:
            before = store.last_key_data(project.records, node_id)
            why = tuple(differences(before, key.data)) if before else ()
            same = contents.same(node, key)
            steps[node_id] = Step(node, key, State.BUILD, why, before is None, same, failure=failures.get(node_id))
        else:
            if node_id in present:
                contents.note(node, key)
            steps[node_id] = Step(node, key, State.CACHED if node_id in present else State.SKIP)
    steps = {name: replace(step, content=contents.known(name)) for name, step in steps.items()}
    return Plan(project, graph, chosen, steps, store.closed_by)


class Contents:
    """The contents of the results of a plan, as far as the store has them, and what they make unnecessary."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, tuple[Yields, str]] = {}
        self._known: dict[str, str] = {}

    def note(self, node: Node, key: Key) -> None:
        """Note a node whose result is in the store."""
        self._keys[node.id] = (node.yields, key.digest)

    def known(self, node: str) -> str:
        """Return the content of a node that was needed; "" for others."""
        return self._known.get(node, "")

    def _of(self, node: str) -> str:
        if node not in self._known and node in self._keys:
            with contextlib.suppress(StagewrightError, OSError, EOFError, ValueError):
                self._known[node] = content_of(self._store, *self._keys[node])
        return self.known(node)

    def same(self, node: Node, key: Key) -> str:
        """Return the key of a result that was made of inputs with the same contents; "" if there is none."""
        if not is_cut_off(node) or not all(source in self._keys for source in node.inputs.values()):
            return ""
        second = key_by_contents(key.data, {role: self._of(source) for role, source in node.inputs.items()})
        found = find_by_contents(self._store, node.yields, second) if second else ""
        if found:
            self._keys[node.id] = (node.yields, found)
            self._of(node.id)
        return found


def is_cut_off(node: Node) -> bool:
    """Return True for a node whose result does not contain keys, so that an equal one can be taken in its place."""
    return not issubclass(by_kind()[node.kind], OutputKind)


def _keys(workspace: Workspace, graph: Graph) -> dict[str, Key]:
    project, store = workspace.project, workspace.store
    known = project.known_trees()
    with DigestCache(store.memory("digests.db")) as digest:

        def tree(path: Path, bits: int = ALL_BITS) -> str:
            if path not in known and project.missing and not path.exists():
                return ABSENT
            if path in known:
                return known[path]
            report = files_reporter(path, workspace.emit)
            with FolderMemory(store.memory("trees"), path, f"{bits:o}") as memory:
                return tree_digest(path, digest, bits, memory, report)

        def repository(path: Path) -> str:
            return tree(path, REPOSITORY_BITS)

        tool = ToolVersions(store.memory("tools.json"), lambda tool: tool_of(tool).remedy)
        parts = KeySources(lambda kind: code_digest(module_of(kind), digest.recall), tree, tool, repository)
        try:
            return keys_of(graph, parts)
        except StagewrightError as error:
            if error.reason is Reason.MISSING_TOOL:
                from stagewright.engine.doctor import require_programs

                require_programs(graph)  # names the others, too
            raise


def files_reporter(folder: Path, emit: Listener, pause: float = 3.0) -> Callable[[int], None]:
    """Return a function that counts files of a folder, and says every ``pause`` seconds how many were read."""
    done, last = 0, time.monotonic()

    def report(files: int) -> None:
        nonlocal done, last
        done += files
        if time.monotonic() - last >= pause:
            last = time.monotonic()
            emit(FilesRead(folder=str(folder), done=done))

    return report


def check_targets(workspace: Workspace, targets: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the targets to work on: these, or all stages, tests and releases if there are none.

    ``targets`` are names, ids of nodes (``seed:debian``) and patterns (``stage4-*``). Raises ``UNKNOWN_NAME`` for one
    that the project does not have.
    """
    words = tuple(targets)
    if words:
        return tuple(names_of(words, target_ids(workspace.project, workspace.graph), TARGET))
    everything = tuple(entry.name for entry in workspace.project.all_entries() if entry.table != "seeds")
    return everything or tuple(workspace.graph.targets)


def one_target(workspace: Workspace, word: str) -> str:
    """Return the name of the one target that a word stands for. Raises ``UNKNOWN_NAME``, or ``USAGE`` for several."""
    return name_of(word, target_ids(workspace.project, workspace.graph), TARGET)


def check_before_build(workspace: Workspace, targets: Iterable[str], *, keys: bool = True) -> None:
    """Raise all errors of ``before_build`` in the stages, tests and releases that these targets need.

    Without ``keys``, keys of signatures may be missing on this computer: the project itself can be right.
    """
    problems = [error for error in _before_build(workspace, targets) if keys or error.reason is not Reason.NO_KEYS]
    if problems:
        raise ProblemsError(problems)


def missing_keys(workspace: Workspace) -> dict[str, str]:
    """Return the keys of signatures that a build of everything would not find here: each message with its hint."""
    lacks = (error for error in _before_build(workspace, ()) if error.reason is Reason.NO_KEYS)
    return {error.message: error.hint for error in lacks}


def _before_build(workspace: Workspace, targets: Iterable[str]) -> Iterator[StagewrightError]:
    project, graph = workspace.project, workspace.graph
    needed = graph.closure(node_id for target in check_targets(workspace, targets) for node_id in graph.targets[target])
    for entry in project.all_entries():
        if entry.node_id in needed and isinstance(entry.model, Stage):
            yield from (error.at(entry.place(path)) for path, error in entry.model.before_build(project))


def _missing(graph: Graph, sinks: Iterable[str], present: set[str]) -> set[str]:
    """Return what must be built: missing sinks, and missing inputs of everything that must be built."""
    found: set[str] = set()
    waiting = [node_id for node_id in sinks if node_id not in present]
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found.add(node_id)
            waiting.extend(source for source in graph.nodes[node_id].inputs.values() if source not in present)
    return found
