"""Nodes and the graph they form.

A node is one thing to make: the root of one stage, one squashfs, one ISO, one boot test. It names its inputs, any
number of them, and everything else that decides what comes out, so that a key can be made of it.
"""

from __future__ import annotations

import enum
import graphlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated

from pydantic import SerializeAsAny

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.given import Given, NotInKey
from stagewright.lazy_dataclass import dataclass


class Yields(enum.StrEnum):
    """Form of the result that a node leaves in the store.

    A node with ``ARTIFACT`` leaves files. Users get them only if the kind is an ``OutputKind``. A squashfs, for
    example, is only the input of other nodes.
    """

    LAYER = "layer"  # the files that a root adds to the layers below it
    ARTIFACT = "artifact"  # files for users or for other nodes

    @property
    def folder(self) -> str:
        """The folder of the store that keeps these."""
        return f"{self.value}s"


@dataclass(frozen=True)
class Demand:
    """Request of a node to the machine: cores, and memory in MiB.

    Nodes with the same word in ``exclusive`` never run at the same time. ``compiles`` is True if the node can use many
    cores for hours: it shares those of the run with other nodes of this sort, job by job.
    """

    cores: int = 1
    memory: int = 512
    exclusive: str = ""
    compiles: bool = False


class NodeFiles(Given):
    """The files and folders on disk that a node reads, each group by name."""

    settings: dict[str, Path] = {}
    """Those that its settings name, by the path as the settings write it."""
    sources: Annotated[dict[str, Path], NotInKey()] = {}
    """Those that settings outside of the key name, such as a keyring."""
    repos: dict[str, Path] = {}
    """The ebuild repositories that it sees, by name."""
    binhost_keys: dict[str, Path] = {}
    """The public keys of binary package hosts, by the name of the host."""


@dataclass(frozen=True)
class Node:
    """One thing to make.

    ``settings`` is the model of the kind itself, ``context`` what the project adds to it, such as the time stamp and
    the pins of the lock. ``inputs`` are ids of other nodes, by role. ``tools`` are the programs of the host whose
    version changes the result. The id, the names of the inputs, ``demand`` and ``place`` are not part of the key.
    """

    id: str
    kind: str
    yields: Yields
    settings: SerializeAsAny[Given] = field(default_factory=Given)
    context: SerializeAsAny[Given] = field(default_factory=Given)
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: NodeFiles = field(default_factory=NodeFiles)
    tools: tuple[str, ...] = ()
    demand: Demand = Demand()
    place: Place | None = None


@dataclass(frozen=True)
class Graph:
    """All nodes of a project by id, and the targets that users name: stage and test names to node ids."""

    nodes: Mapping[str, Node]
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[Node], targets: Mapping[str, tuple[str, ...]] | None = None) -> Graph:
        """Return the graph of these nodes. Equal nodes given twice count once. Raises: CYCLE if the inputs form one."""
        table: dict[str, Node] = {}
        for node in nodes:
            other = table.setdefault(node.id, node)
            assert other == node, f"two different nodes are called {node.id}"
        graph = cls(table, targets or {node_id: (node_id,) for node_id in table})
        graph.order()
        return graph

    def order(self) -> list[str]:
        """Return the node ids, each after its inputs; the order is the same for the same graph."""
        sorter = graphlib.TopologicalSorter({node.id: sorted(node.inputs.values()) for node in self})
        try:
            return list(sorter.static_order())
        except graphlib.CycleError as error:
            raise cycle_error(error.args[1], self.nodes[error.args[1][0]].place) from error

    def closure(self, targets: Iterable[str]) -> set[str]:
        """Return the targets and all nodes that they need, directly or through other nodes."""
        found: set[str] = set()
        waiting = list(targets)
        while waiting:
            node_id = waiting.pop()
            if node_id not in found:
                found.add(node_id)
                waiting.extend(self.nodes[node_id].inputs.values())
        return found

    def users(self) -> dict[str, list[str]]:
        """Return the nodes that take each node as an input."""
        table: dict[str, list[str]] = {node_id: [] for node_id in self.nodes}
        for node in self:
            for source in set(node.inputs.values()):
                table[source].append(node.id)
        return table

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())


def circles(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield every cycle, given the inputs of each name. No name is in two of the cycles."""
    remaining = {name: set(sources) for name, sources in edges.items()}
    while True:
        try:
            graphlib.TopologicalSorter({name: sorted(remaining[name]) for name in sorted(remaining)}).prepare()
            return
        except graphlib.CycleError as error:
            way: list[str] = error.args[1]
            yield way
            for step in way:
                remaining.pop(step, None)


def cycle_error(path: list[str], place: Place | None) -> StagewrightError:
    """Return the error for stages that need each other, with the path of the cycle."""
    if len(path) == 2:
        message, hint = f"{path[0]} needs itself", "name another one as its input"
    else:
        message, hint = f"these need each other: {' -> '.join(path)}", "change the input of one of them"
    return StagewrightError(Reason.CYCLE, message, place=place, hint=hint)
