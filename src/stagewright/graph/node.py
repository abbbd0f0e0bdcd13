"""Nodes and the graph they form.

A node is one thing to make: the root of one stage, one squashfs, one ISO, one boot test. It names its inputs, any
number of them (R22), and everything else that decides what comes out, so that a key can be made of it.
"""

from __future__ import annotations

import enum
import graphlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError


class Yields(enum.StrEnum):
    """What a node leaves in the store."""

    LAYER = "layer"  # what a root adds to the roots below it
    ARTIFACT = "artifact"  # files for people and for other nodes

    @property
    def folder(self) -> str:
        """The folder of the store that keeps these."""
        return f"{self.value}s"


@dataclass(frozen=True)
class Node:
    """One thing to make.

    ``options`` are the settings after defaults, ``context`` what the project adds to them (time stamp, repositories,
    pins of the lock), both JSON-able; ``files`` are the files and folders on disk that they name, by the name the
    builder uses for them; ``inputs`` are other nodes, by role. ``tools`` are the programs of the host that leave traces
    in the result. ``refs`` are the names that the project gives to inputs, ``asides`` the settings that say where
    something comes from and not what it is, with ``aside_files`` that they name, ``hints`` what the project tells
    besides, such as mirrors, ``cores`` and ``memory`` (MiB) what it asks of the machine; none of these changes the
    result, so none is part of the key.
    """

    id: str
    kind: str
    yields: Yields
    options: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    refs: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    asides: Mapping[str, Any] = field(default_factory=dict)
    aside_files: Mapping[str, Path] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    cores: int = 1
    memory: int = 512
    hints: Mapping[str, Any] = field(default_factory=dict)
    exclusive: str = ""  # nodes that share a word here never run at the same time
    place: Place | None = None


@dataclass(frozen=True)
class Graph:
    """All nodes of a project, by id, and the targets that people ask for: stage and test names to node ids."""

    nodes: Mapping[str, Node]
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[Node], targets: Mapping[str, tuple[str, ...]] | None = None) -> Graph:
        """The graph of these nodes. Equal nodes given twice count once; raises :class:`StagewrightError` on a cycle."""
        table: dict[str, Node] = {}
        for node in nodes:
            other = table.setdefault(node.id, node)
            assert other == node, f"two different nodes are called {node.id}"
        graph = cls(table, targets or {node_id: (node_id,) for node_id in table})
        graph.order()
        return graph

    def order(self) -> list[str]:
        """Node ids, each after its inputs; the order is the same for the same graph."""
        sorter = graphlib.TopologicalSorter({node.id: sorted(node.inputs.values()) for node in self})
        try:
            return list(sorter.static_order())
        except graphlib.CycleError as error:
            raise cycle_error(error.args[1], self.nodes[error.args[1][0]].place) from error

    def closure(self, targets: Iterable[str]) -> set[str]:
        """The targets and everything they need, however far away."""
        found: set[str] = set()
        waiting = list(targets)
        while waiting:
            node_id = waiting.pop()
            if node_id not in found:
                found.add(node_id)
                waiting.extend(self.nodes[node_id].inputs.values())
        return found

    def users(self) -> dict[str, list[str]]:
        """For each node the nodes that take it as an input."""
        table: dict[str, list[str]] = {node_id: [] for node_id in self.nodes}
        for node in self:
            for source in set(node.inputs.values()):
                table[source].append(node.id)
        return table

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())


def circles(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Every way that leads back to its start, given the inputs of each name; ways do not share names."""
    remaining = {name: set(sources) for name, sources in edges.items()}
    while True:
        try:
            graphlib.TopologicalSorter({name: sorted(remaining[name]) for name in sorted(remaining)}).prepare()
            return
        except graphlib.CycleError as error:
            way: list[str] = error.args[1]
            yield way
            for step in way:  # look on for other circles
                remaining.pop(step, None)


def cycle_error(path: list[str], place: Place | None) -> StagewrightError:
    """The error for stages that need each other, with the way round."""
    return StagewrightError(
        Reason.CYCLE,
        f"these need each other: {' -> '.join(path)}",
        place=place,
        hint="let one of them start from something else",
    )
