"""The nodes of a run that wait: which of them can start, and which of these is best started first.

The best one is that with the longest way to the end of the run: its own time and that of everything on the longest
chain of nodes that need it; or the first of another order that ends earlier (engine/orders.py). Times are those of the
last builds. A node costs O(log n), however many others wait: those that can start are kept in one heap for each
different demand.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

from stagewright.engine.orders import Waiting
from stagewright.graph.node import Demand, Node
from stagewright.lazy_dataclass import dataclass

UNKNOWN = 1.0
"""Seconds that a node is taken to need if no node of the run was ever built."""

_KNOWN = 0.9
"""Part of the nodes whose times must be known for another order than longest way first, which needs them less."""


@dataclass(order=True)
class _Entry:
    """A node that can start. The one with the least rank comes first; of equal ones the first of the plan."""

    rank: float
    place: int
    node: Node = field(compare=False)


class ReadyNodes:
    """The nodes of a run that have not started. ``nodes`` are in build order, ``seconds`` are times of last builds.

    ``demand`` returns what a node needs of the place where it is built. ``workers`` is the number of nodes that run at
    once. ``usual`` is the time that a node is taken to need if it was never built, and ``longest_way`` that of the
    longest chain of nodes.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        seconds: Mapping[str, float],
        demand: Callable[[Node], Demand] = lambda node: node.demand,
        workers: int = 1,
    ) -> None:
        self._demand = demand
        self._waiting = {node.id: node for node in nodes}
        self._places = {name: place for place, name in enumerate(self._waiting)}
        self._users: dict[str, list[str]] = {}
        self._missing: dict[str, int] = {}
        for node in self._waiting.values():
            sources = set(node.inputs.values())
            self._missing[node.id] = len(sources & self._waiting.keys())
            for source in sources:
                self._users.setdefault(source, []).append(node.id)
        self.usual = statistics.median(seconds.values()) if seconds else UNKNOWN
        waiting = Waiting({name: seconds.get(name, self.usual) for name in self._waiting}, self._users, self._missing)
        ways = waiting.ways()
        self.longest_way = max(ways.values(), default=0.0)
        known = sum(name in seconds for name in self._waiting)
        self._order = waiting.best_order(ways, workers) if known >= _KNOWN * len(self._waiting) else ways
        self._heaps: dict[Demand, list[_Entry]] = {}
        self._hopeless: set[str] = set()
        for name, count in self._missing.items():
            if not count:
                self._push(self._waiting[name])

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def ready(self) -> int:
        """The number of nodes that can start."""
        return sum(map(len, self._heaps.values()))

    def take(self, fits: Callable[[Demand], bool]) -> Node | None:
        """Remove and return the best node that can start and whose demand fits; None if there is none."""
        tops = [heap[0] for demand, heap in self._heaps.items() if heap and fits(demand)]
        if not tops:
            return None
        node = min(tops).node
        heapq.heappop(self._heaps[self._demand(node)])
        del self._waiting[node.id]
        return node

    def put_back(self, node: Node) -> None:
        """Let a node that was taken wait again."""
        self._waiting[node.id] = node
        self._push(node)

    def built(self, name: str) -> None:
        """Note that the result of a node is in the store."""
        for user in self._users.get(name, ()):
            self._missing[user] -= 1
            if not self._missing[user] and user in self._waiting:
                self._push(self._waiting[user])

    def failed(self, name: str) -> None:
        """Note that there will be no result of a node."""
        self._hopeless.add(name)

    def remove_hopeless(self) -> list[str]:
        """Remove and return the nodes that need a node which has failed, in build order."""
        found: set[str] = set()
        waiting = list(self._hopeless)
        self._hopeless.clear()
        while waiting:
            users = [user for user in self._users.get(waiting.pop(), ()) if user in self._waiting and user not in found]
            found.update(users)
            waiting += users
        return self._remove(found)

    def remove_all(self) -> list[str]:
        """Remove and return all nodes, in build order."""
        return self._remove(set(self._waiting))

    def _remove(self, names: set[str]) -> list[str]:
        for name in names:
            del self._waiting[name]
        for heap in self._heaps.values():
            heap[:] = [entry for entry in heap if entry.node.id not in names]
            heapq.heapify(heap)
        return sorted(names, key=self._places.__getitem__)

    def _push(self, node: Node) -> None:
        entry = _Entry(-self._order[node.id], self._places[node.id], node)
        heapq.heappush(self._heaps.setdefault(self._demand(node), []), entry)
