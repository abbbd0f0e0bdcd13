"""The graph: order, what is needed, who uses what, cycles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.node import Graph, Node, Yields


def nodes(*edges: str) -> Iterator[Node]:
    """Nodes from texts such as ``iso: live boot``."""
    for edge in edges:
        name, _, inputs = edge.partition(":")
        roles = {f"role{number}": source for number, source in enumerate(inputs.split())}
        yield Node(name, "root", Yields.LAYER, inputs=roles)


LIVE = ["seed:", "system:seed", "live:system", "boot:seed", "squashfs:live boot", "iso:squashfs boot", "alone:"]


def test_every_node_comes_after_its_inputs() -> None:
    graph = Graph.of(nodes(*LIVE))
    order = graph.order()
    assert sorted(order) == sorted(graph.nodes)
    for node in graph:
        assert all(order.index(source) < order.index(node.id) for source in node.inputs.values())


def test_the_order_is_the_same_every_time() -> None:
    assert Graph.of(nodes(*LIVE)).order() == Graph.of(nodes(*LIVE)).order()


@pytest.mark.parametrize(
    ("targets", "needed"),
    [
        ([], []),
        (["alone"], ["alone"]),
        (["live"], ["live", "seed", "system"]),
        (["boot", "live"], ["boot", "live", "seed", "system"]),
        (["iso"], ["boot", "iso", "live", "seed", "squashfs", "system"]),
    ],
)
def test_closure(targets: list[str], needed: list[str]) -> None:
    assert sorted(Graph.of(nodes(*LIVE)).closure(targets)) == needed


def test_users() -> None:
    users = Graph.of(nodes(*LIVE, "both:boot boot")).users()
    assert sorted(users["boot"]) == ["both", "iso", "squashfs"]
    assert users["alone"] == []


def test_targets_are_the_nodes_unless_named() -> None:
    assert Graph.of(nodes("a:", "b:a")).targets == {"a": ("a",), "b": ("b",)}
    assert Graph.of(nodes("a:", "b:a"), {"x": ("b",)}).targets == {"x": ("b",)}


def test_the_same_node_given_twice_counts_once() -> None:
    assert len(Graph.of([*nodes("a:"), *nodes("a:")]).nodes) == 1


def test_two_nodes_of_one_name_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        Graph.of([Node("a", "root", Yields.LAYER), Node("a", "iso", Yields.ARTIFACT)])


@pytest.mark.parametrize("edges", [["a:a"], ["a:b", "b:a"], ["x:", "a:b x", "b:c", "c:a", "y:a"]])
def test_a_cycle_is_reported_with_its_path(edges: list[str]) -> None:
    with pytest.raises(StagewrightError) as caught:
        Graph.of(nodes(*edges))
    assert caught.value.reason is Reason.CYCLE
    assert caught.value.hint
    way = caught.value.message.partition(": ")[2].split(" -> ")
    inputs = {node.id: set(node.inputs.values()) for node in nodes(*edges)}
    assert way[0] == way[-1]
    assert all(second in inputs[first] or first in inputs[second] for first, second in itertools.pairwise(way))


def test_a_cycle_has_the_place_of_one_of_its_nodes() -> None:
    place = Place(Path("x"), 3)
    with pytest.raises(StagewrightError) as caught:
        Graph.of([Node("a", "root", Yields.LAYER, inputs={"root": "a"}, place=place)])
    assert caught.value.place == place


@given(st.lists(st.lists(st.integers(0, 11), max_size=3), max_size=12))
def test_any_graph_without_cycles_has_an_order(inputs: list[list[int]]) -> None:
    edges = [
        f"n{number}: {' '.join(f'n{source}' for source in row if source < number)}" for number, row in enumerate(inputs)
    ]
    graph = Graph.of(nodes(*edges))
    order = graph.order()
    assert all(order.index(source) < order.index(node.id) for node in graph for source in node.inputs.values())
    users = graph.users()
    assert all(node.id in users[source] for node in graph for source in node.inputs.values())
