"""How long a plan would take on a number of machines: the order of a run, played with the times of the last builds."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.graph.node import Node
from stagewright.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Makespan:
    """The expected length of a run, in seconds, where each machine builds one node at a time.

    ``longest_way`` is the time of the longest chain of nodes: no number of machines is quicker. ``work`` is the sum of
    all nodes. ``unknown`` counts nodes that were never built; they are taken to need ``usual``, the median of the rest.
    """

    workers: int
    nodes: int
    seconds: float
    longest_way: float
    work: float
    unknown: int
    usual: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return dataclasses.asdict(self)


def makespan(nodes: Sequence[Node], seconds: Mapping[str, float], workers: int) -> Makespan:
    """Return how long it would take to build nodes, which are in build order.

    ``seconds`` are the times of last builds. ``workers`` is at least 1.
    """
    waiting = ReadyNodes(nodes, seconds, workers=workers)
    times = {node.id: seconds.get(node.id, waiting.usual) for node in nodes}
    now, running = 0.0, list[tuple[float, str]]()
    while waiting or running:
        while len(running) < workers and (node := waiting.take(lambda demand: True)):
            heapq.heappush(running, (now + times[node.id], node.id))
        now, name = heapq.heappop(running)
        waiting.built(name)
    unknown = len(times.keys() - seconds.keys())
    return Makespan(workers, len(times), now, waiting.longest_way, sum(times.values()), unknown, waiting.usual)
