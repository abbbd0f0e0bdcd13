"""The plan: which nodes are there, which are to be made, and why."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.graph.code_digest import code_digest
from stagewright.graph.file_digest import tree_digest
from stagewright.graph.keys import Difference, Key, KeySources, differences, keys_of
from stagewright.graph.node import Graph, Node, Yields
from stagewright.kinds.registry import graph_of, module_of, tool_of
from stagewright.project.model import Project
from stagewright.store.digest_cache import DigestMemory, ToolVersions
from stagewright.store.store import Store

ABSENT = "not there"
"""What stands for the digest of a file that a project which is only looked at lacks."""


class State(enum.StrEnum):
    """What a build would do about a node."""

    CACHED = "cached"  # it is in the store
    BUILD = "build"  # it is not, and is needed
    SKIP = "not needed"  # it is not, but nothing that is to be made needs it


@dataclass(frozen=True)
class Step:
    """One node of a plan. ``why`` says what differs from the last build; empty for a first one."""

    node: Node
    key: Key
    state: State
    why: tuple[Difference, ...] = ()
    first: bool = False

    @property
    def reason(self) -> str:
        """The reason in one line."""
        if self.state is not State.BUILD:
            return ""
        if self.first:
            return "never built"
        return "; ".join(str(difference) for difference in self.why) or "gone from the store"

    def to_dict(self) -> dict[str, Any]:
        """The step for programs."""
        return {
            "node": self.node.id,
            "kind": self.node.kind,
            "state": self.state.value,
            "key": self.key.digest,
            "inputs": dict(self.node.inputs),
            "first": self.first,
            "why": [
                {"entry": difference.entry, "old": difference.old, "new": difference.new} for difference in self.why
            ],
        }


@dataclass(frozen=True)
class Plan:
    """What is to be done for some targets of a project."""

    project: Project
    graph: Graph
    targets: tuple[str, ...]
    steps: Mapping[str, Step]  # by node id, in build order

    @property
    def to_build(self) -> list[Step]:
        """The nodes that a build would make, in order."""
        return [step for step in self.steps.values() if step.state is State.BUILD]

    @property
    def sinks(self) -> list[str]:
        """The nodes that the targets stand for."""
        return [node for target in self.targets for node in self.graph.targets[target]]

    def inputs_of(self, node: Node) -> dict[str, tuple[Yields, str]]:
        """What a node takes, by role: what it is, and the key under which it lies in the store."""
        return {
            role: (self.graph.nodes[source].yields, self.steps[source].key.digest)
            for role, source in node.inputs.items()
        }

    def keys(self) -> dict[str, str]:
        """Digests by node id."""
        return {node_id: step.key.digest for node_id, step in self.steps.items()}


def make_plan(project: Project, store: Store, targets: Iterable[str] = ()) -> Plan:
    """Plan what the targets need (all stages and tests when none are named). Reads files, builds nothing."""
    graph = graph_of(project)
    chosen = check_targets(graph, project, targets)
    known = project.known_trees()
    with DigestMemory(store.cache("digests.db")) as digest:
        sources = KeySources(
            code=lambda kind: code_digest(module_of(kind)),
            tree=lambda path: (
                known.get(path) or (ABSENT if project.missing and not path.exists() else tree_digest(path, digest))
            ),
            tool=ToolVersions(store.cache("tools.json"), lambda tool: tool_of(tool).remedy),
        )
        sinks = [node for target in chosen for node in graph.targets[target]]
        needed = graph.closure(sinks)
        part = Graph({node_id: graph.nodes[node_id] for node_id in sorted(needed)}, graph.targets)
        keys = keys_of(part, sources)
    present = {node_id for node_id in needed if store.has(graph.nodes[node_id].yields, keys[node_id].digest)}
    building = _missing(part, sinks, present)
    steps = {}
    for node_id in part.order():
        node, key = graph.nodes[node_id], keys[node_id]
        if node_id in building:
            before = store.remembered(project.info.name, node_id)
            why = tuple(differences(before, key.data)) if before else ()
            steps[node_id] = Step(node, key, State.BUILD, why, first=before is None)
        else:
            steps[node_id] = Step(node, key, State.CACHED if node_id in present else State.SKIP)
    return Plan(project, graph, chosen, steps)


def check_targets(graph: Graph, project: Project, targets: Iterable[str]) -> tuple[str, ...]:
    """The targets to work on; raises ``UNKNOWN_NAME`` for one that the project has not."""
    chosen = tuple(dict.fromkeys(targets))
    for target in chosen:
        if target not in graph.targets:
            raise StagewrightError(
                Reason.UNKNOWN_NAME, f"there is no stage or test called {target!r}", hint=nearest(target, graph.targets)
            )
    if chosen:
        return chosen
    everything = tuple(entry.name for entry in project.all_entries() if entry.table != "seeds")
    return everything or tuple(graph.targets)


def _missing(graph: Graph, sinks: Iterable[str], present: set[str]) -> set[str]:
    """What must be made: missing sinks, and missing inputs of whatever must be made."""
    found: set[str] = set()
    waiting = [node_id for node_id in sinks if node_id not in present]
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found.add(node_id)
            waiting.extend(source for source in graph.nodes[node_id].inputs.values() if source not in present)
    return found
