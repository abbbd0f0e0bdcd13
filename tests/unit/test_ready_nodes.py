"""The order in which nodes start, and what happens to those that cannot."""

from __future__ import annotations

import time

from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.graph.node import Demand, Node, Yields


def node(name: str, *inputs: str, demand: Demand | None = None) -> Node:
    return Node(
        name, "x", Yields.LAYER, inputs={str(at): one for at, one in enumerate(inputs)}, demand=demand or Demand()
    )


def anything(_: Demand) -> bool:
    return True


def order(nodes: ReadyNodes) -> list[str]:
    found = []
    while one := nodes.take(anything):
        found.append(one.id)
        nodes.built(one.id)
    return found


DIAMOND = [node("a"), node("b"), node("c", "b"), node("d", "a", "c")]


def test_the_longest_way_comes_first() -> None:
    assert order(ReadyNodes(DIAMOND, {"a": 1, "b": 1, "c": 1, "d": 1})) == ["b", "a", "c", "d"]
    assert order(ReadyNodes(DIAMOND, {"a": 9, "b": 1, "c": 1, "d": 1})) == ["a", "b", "c", "d"]


def test_equal_ways_keep_the_order_of_the_plan() -> None:
    assert order(ReadyNodes([node("x"), node("y"), node("z")], {})) == ["x", "y", "z"]


def test_a_node_that_does_not_fit_lets_others_pass() -> None:
    large = Demand(memory=9000)
    nodes = ReadyNodes([node("large", demand=large), node("small")], {"large": 9, "small": 1})
    taken = nodes.take(lambda demand: demand != large)
    assert taken
    assert taken.id == "small"
    assert nodes.take(lambda demand: demand != large) is None
    assert (len(nodes), nodes.ready) == (1, 1)


def test_a_node_that_was_put_back_comes_again() -> None:
    nodes = ReadyNodes([node("x")], {})
    one = nodes.take(anything)
    assert one
    assert not nodes
    nodes.put_back(one)
    assert order(nodes) == ["x"]


def test_what_needs_a_failed_node_is_removed_in_build_order() -> None:
    nodes = ReadyNodes(DIAMOND, {})
    assert nodes.take(anything)
    nodes.failed("b")
    assert nodes.remove_hopeless() == ["c", "d"]
    assert not nodes.remove_hopeless()
    assert order(nodes) == ["a"]


def test_what_needs_a_refused_result_of_the_store_is_removed() -> None:
    nodes = ReadyNodes([node("x", "cached"), node("y")], {})
    nodes.failed("cached")
    assert nodes.remove_hopeless() == ["x"]
    assert nodes.remove_all() == ["y"]
    assert not nodes.ready


def test_a_node_costs_the_same_however_many_others_wait() -> None:
    """A run of so many took minutes when each was looked at for every start."""
    chains = [
        node(f"{row}.{step}", *([f"{row}.{step - 1}"] if step else [])) for step in range(20) for row in range(1000)
    ]
    started = time.process_time()
    assert len(order(ReadyNodes(chains, {}))) == 20_000
    assert time.process_time() - started < 20
