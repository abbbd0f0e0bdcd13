"""Orders of a run: another one than longest way first where that ends earlier, and the same one each time."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

from stagewright.engine.makespan import makespan
from stagewright.engine.orders import Waiting
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.engine.resources import Resources
from stagewright.graph.node import Demand, Node, Yields

EVEN = Waiting({"a": 4.0, "b": 5.0, "c": 5.0, "d": 6.0, "e": 6.0, "f": 4.0}, {}, dict.fromkeys("abcdef", 0))
"""Longest first is the best: 6 + 5 + 4 on each of two."""

FORK = Waiting(
    {"a": 3.0, "b": 3.0, "c": 1.0, "d": 1.9, "e": 1.9, "f": 1.9},
    {"c": ["d", "e", "f"]},
    {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 1},
)
"""Longest way first leaves ``c`` to the end, and with it the three nodes that need it."""


def nodes_of(graph: Waiting) -> list[Node]:
    inputs = {user: {"0": name} for name, users in graph.users.items() for user in users}
    return [Node(name, "x", Yields.LAYER, inputs=inputs.get(name, {})) for name in graph.times]


def test_longest_way_first_is_kept_where_it_is_the_best() -> None:
    ways = EVEN.ways()
    assert EVEN.best_order(ways, 2) is ways
    assert FORK.best_order(FORK.ways(), 1) == FORK.ways()
    assert FORK.best_order(FORK.ways(), 6) == FORK.ways()


def test_a_quicker_order_is_taken() -> None:
    ways = FORK.ways()
    assert ways == {"a": 3, "b": 3, "c": 2.9, "d": 1.9, "e": 1.9, "f": 1.9}
    assert round(FORK.play(ways, 2), 3) == 7.8
    assert FORK.play(FORK.best_order(ways, 2), 2) < 7


def test_it_is_quicker_with_other_times_too() -> None:
    ways = FORK.ways()
    order = FORK.best_order(ways, 2)
    chance = random.Random(7)
    ratios = []
    for _ in range(200):
        real = replace(FORK, times={name: time * chance.lognormvariate(0, 0.2) for name, time in FORK.times.items()})
        ratios.append(real.play(order, 2) / real.play(ways, 2))
    assert statistics.mean(ratios) < 0.97


def test_an_order_that_is_better_with_exact_times_alone_is_not_taken() -> None:
    """Longest first takes 7 and the best 6, but only as long as 3 + 3 is exactly 2 + 2 + 2."""
    times = {"a": 3.0, "b": 3.0, "c": 2.0, "d": 2.0, "e": 2.0}
    graph = Waiting(times, {}, dict.fromkeys(times, 0))
    order = graph.best_order(graph.ways(), 2)
    chance = random.Random(7)
    ratios = []
    for _ in range(200):
        real = replace(graph, times={name: time * chance.lognormvariate(0, 0.15) for name, time in times.items()})
        ratios.append(real.play(order, 2) / real.play(graph.ways(), 2))
    assert statistics.mean(ratios) <= 1.0


def test_a_run_and_its_estimate_use_it() -> None:
    nodes = nodes_of(FORK)
    assert makespan(nodes, FORK.times, 2).seconds < 7
    ready = ReadyNodes(nodes, FORK.times, workers=2)
    assert "c" in [one.id for one in (ready.take(lambda _: True), ready.take(lambda _: True)) if one]


def test_unknown_times_leave_longest_way_first() -> None:
    known: Mapping[str, float] = {name: time for name, time in FORK.times.items() if name != "a"}
    ready = ReadyNodes(nodes_of(FORK), known | {"x": 3.0, "y": 3.0, "z": 3.0}, workers=2)
    first = ready.take(lambda _: True)
    assert first
    assert first.id == "b"


SCRIPT = """
import json
from test_orders import FORK
print(json.dumps(FORK.best_order(FORK.ways(), 2)))
"""


def test_the_same_plan_has_the_same_order_in_each_process() -> None:
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.path.dirname(__file__)}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1] != FORK.ways()


def test_how_many_nodes_run_at_once() -> None:
    small, large = Demand(), Demand(cores=2, memory=2048)
    assert Resources(8, 4096).at_once([small, small, large]) == 8
    assert Resources(8, 4096).at_once([large, large, small]) == 2
    assert Resources(8, 16384, 3).at_once([large]) == 3
    assert Resources(2, 512).at_once([large]) == 1
    assert Resources(8, 4096).at_once([]) == 0
