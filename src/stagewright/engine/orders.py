"""The order of a run: which of the nodes that can start is best started first, for a number of machines.

Longest way first is the usual rule of list scheduling, and nearly always within some percent of the best. Where it is
not near the least time that is possible, other orders are played: most work behind first, and orders near the best one
so far. Times of builds differ from those of the last builds, so an order must be quicker with these, and in the mean of
some plays with times that are a little off. All of it follows from the plan alone, so the same plan has the same order.
"""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stagewright.lazy_dataclass import dataclass

_BETTER = 0.99
"""The time of another order, compared with longest way first, must be less than this."""

_MOST = 1000
"""Other orders that are played with the times of the last builds."""

_STEPS = 30_000
"""Nodes of all these orders together: a tenth of a second. Large graphs are near the least time anyway."""

_NEAR = 0.75, 1.3
"""Factors between which the numbers of an order are changed for one near it."""

_DRAWS, _SPREAD = 8, 0.15
"""Plays with other times, and how far these are off (sigma of a lognormal distribution)."""


@dataclass(frozen=True)
class Waiting:
    """The nodes of a run, in build order: seconds, the nodes that need each, and how many inputs each waits for."""

    times: Mapping[str, float]
    users: Mapping[str, Sequence[str]]
    missing: Mapping[str, int]

    def ways(self) -> dict[str, float]:
        """Return the time from the start of each node to the end of the run: the longest chain of those that need it.

        So the longest way of all is the time of a run with as many machines as it can use.
        """
        found: dict[str, float] = {}
        for name in reversed(list(self.times)):
            found[name] = self.times[name] + max((found[user] for user in self._users(name)), default=0.0)
        return found

    def _work(self) -> dict[str, float]:
        """Return the time of each node and of those that need it; what several of them need counts for each."""
        found: dict[str, float] = {}
        for name in reversed(list(self.times)):
            found[name] = self.times[name] + sum(found[user] for user in self._users(name))
        return found

    def _users(self, name: str) -> Sequence[str]:
        return self.users.get(name, ())

    def best_order(self, ways: Mapping[str, float], workers: int) -> Mapping[str, float]:
        """Return numbers for the nodes: of those that can start, the one with the largest number comes first.

        ``ways`` are those of :meth:`ways`, which are the answer if no other order is better. ``workers`` is the number
        of nodes that run at once.
        """
        if workers < 2 or len(self.times) < 3:
            return ways
        least = max(*ways.values(), sum(self.times.values()) / workers)
        usual = self.play(ways, workers)
        chance = random.Random(0)  # noqa: S311  the same in each run
        best, seconds, mean, drawn = ways, usual * _BETTER, _BETTER, list[_Drawn]()
        for number in range(min(_MOST, _STEPS // len(self.times))):
            if seconds <= least:
                break
            order = self._near(best, chance) if number else self._work()
            if (found := self.play(order, workers)) >= seconds:
                continue
            drawn = drawn or self._drawn(ways, workers, chance)
            others = statistics.mean(graph.play(order, workers) / time for graph, time in drawn)
            if others < mean:
                best, seconds, mean = order, found, others
        return best

    def _near(self, order: Mapping[str, float], chance: random.Random) -> Mapping[str, float]:
        return {name: number * chance.uniform(*_NEAR) for name, number in order.items()}

    def _drawn(self, ways: Mapping[str, float], workers: int, chance: random.Random) -> list[_Drawn]:
        """Return this graph with other times, some times, each with the time that longest way first takes."""
        graphs = [
            replace(self, times={name: time * chance.lognormvariate(0, _SPREAD) for name, time in self.times.items()})
            for _ in range(_DRAWS)
        ]
        return [(graph, graph.play(ways, workers)) for graph in graphs]

    def play(self, order: Mapping[str, float], workers: int) -> float:
        """Return the time of a run in which a worker that is free takes the first of the nodes that can start."""
        missing = dict(self.missing)
        ready = [(-order[name], place, name) for place, name in enumerate(self.times) if not missing[name]]
        heapq.heapify(ready)
        places = {name: place for place, name in enumerate(self.times)}
        now, running = 0.0, list[tuple[float, str]]()
        while ready or running:
            while ready and len(running) < workers:
                name = heapq.heappop(ready)[2]
                heapq.heappush(running, (now + self.times[name], name))
            now, done = heapq.heappop(running)
            for user in self._users(done):
                missing[user] -= 1
                if not missing[user]:
                    heapq.heappush(ready, (-order[user], places[user], user))
        return now


_Drawn = tuple[Waiting, float]
