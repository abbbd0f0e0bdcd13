"""Orders of a run: another one than longest way first where that ends earlier, and the same one each time."""

from __future__ import annotations

from stagewright.engine.makespan import makespan
from stagewright.engine.orders import Waiting
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.graph.node import Node, Yields


def node(name: str, *inputs: str) -> Node:
    return Node(name, "x", Yields.LAYER, inputs={str(at): one for at, one in enumerate(inputs)})


EVEN = {"a": 4.0, "b": 5.0, "c": 5.0, "d": 6.0, "e": 6.0, "f": 4.0}
"""Longest first is the best: 6 + 5 + 4 on each of two."""

THREES = {"a": 3.0, "b": 3.0, "c": 2.0, "d": 2.0, "e": 2.0}
"""Longest first: 3 + 2 + 2 against 3 + 2. The best is 3 + 3 against 2 + 2 + 2."""


def waiting(times: dict[str, float]) -> Waiting:
    return Waiting(times, {}, dict.fromkeys(times, 0))


def test_longest_way_first_is_kept_where_it_is_the_best() -> None:
    ways = waiting(EVEN).ways()
    assert waiting(EVEN).best_order(ways, 2) is ways


def test_a_quicker_order_is_taken() -> None:
    graph = waiting(THREES)
    ways = graph.ways()
    assert graph.play(ways, 2) == 7
    assert graph.play(graph.best_order(ways, 2), 2) == 6


def test_a_run_and_its_estimate_use_it() -> None:
    nodes = [node(name) for name in THREES]
    assert makespan(nodes, THREES, 2).seconds == 6
    assert makespan(nodes, THREES, 1).seconds == 12
    ready = ReadyNodes(nodes, THREES, workers=2)
    first = [one.id for one in (ready.take(lambda demand: True), ready.take(lambda demand: True)) if one]
    assert len({THREES[name] for name in first}) == 2  # not the two longest


def test_the_same_plan_has_the_same_order() -> None:
    graph = waiting(THREES)
    assert dict(graph.best_order(graph.ways(), 2)) == dict(graph.best_order(graph.ways(), 2))


def test_nodes_wait_for_their_inputs_in_each_order() -> None:
    times = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 1.0}
    graph = Waiting(times, {"a": ["b", "c"], "b": ["d"], "c": ["d"]}, {"a": 0, "b": 1, "c": 1, "d": 2})
    assert graph.ways() == {"d": 1, "c": 4, "b": 3, "a": 5}
    assert graph.play(graph.best_order(graph.ways(), 2), 2) == 5
    assert graph.play(graph.ways(), 1) == 7
