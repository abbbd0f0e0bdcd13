"""The picture of a graph: nodes in columns, each to the right of its inputs."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP, ROW = 190, 34, 60, 46  # pixels: a box, the space between columns, and the distance of rows
SMALL = 14  # pixels: a box without text, with its distance to the next
MANY = 300
"""Number of nodes from which the boxes are small and have no text."""

_SWEEPS = 4  # times that the order in the columns is improved


@dataclass(frozen=True)
class Box:
    """A node in the picture: its upper left corner in pixels."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """Boxes by name, the edges between them, and the size of the whole and of a box in pixels."""

    boxes: Mapping[str, Box]
    edges: Sequence[tuple[Box, Box]]
    width: float
    height: float
    box_width: float
    box_height: float
    is_small: bool


def picture(inputs: Mapping[str, Sequence[str]]) -> Picture:
    """Return the picture of a graph that is given by the inputs of each node."""
    known = {name: [source for source in sources if source in inputs] for name, sources in inputs.items()}
    columns = _ordered(known, _columns(known))
    small = len(known) > MANY
    width, height, gap, row = (10, 10, 40, SMALL) if small else (WIDTH, HEIGHT, GAP, ROW)
    tallest = max(map(len, columns), default=0)
    boxes = {
        name: Box(name, column * (width + gap), (number + (tallest - len(names)) / 2) * row)
        for column, names in enumerate(columns)
        for number, name in enumerate(names)
    }
    edges = [(boxes[source], boxes[name]) for name, sources in known.items() for source in sources]
    return Picture(boxes, edges, len(columns) * (width + gap) - gap, tallest * row, width, height, small)


def _columns(inputs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the nodes by the length of the longest way to them."""
    depth: dict[str, int] = {}
    for name in graphlib.TopologicalSorter({name: sorted(sources) for name, sources in inputs.items()}).static_order():
        depth[name] = 1 + max((depth[source] for source in inputs[name]), default=-1)
    columns: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name, column in depth.items():
        columns[column].append(name)
    return columns


def _ordered(inputs: Mapping[str, Sequence[str]], columns: list[list[str]]) -> list[list[str]]:
    """Return the columns in an order with few crossings: each node at the mean place of its neighbours."""
    users: dict[str, list[str]] = {name: [] for name in inputs}
    for name, sources in inputs.items():
        for source in sources:
            users[source].append(name)
    place = {name: float(number) for names in columns for number, name in enumerate(names)}
    for sweep in range(_SWEEPS):
        neighbours = inputs if sweep % 2 == 0 else users
        for names in columns if sweep % 2 == 0 else reversed(columns):
            wish = {name: _mean([place[other] for other in neighbours[name]], place[name]) for name in names}
            names.sort(key=lambda name: (wish[name], name))
            place.update({name: float(number) for number, name in enumerate(names)})
    return columns


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
