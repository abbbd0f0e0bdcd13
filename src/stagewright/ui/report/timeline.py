"""The timeline of a run: a bar for each node, in as few lanes as possible, and the critical path."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from stagewright.engine.recorded_runs import NodeRun, RecordedRun
from stagewright.ui.text import duration

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)  # seconds
_MOST_TICKS = 12
_CHARACTER = 0.0062  # width of a character of a label, as a part of the width of the picture


@dataclass(frozen=True)
class Span:
    """A part of the time axis: begin and length as parts of the whole (0 to 1), and a text."""

    start: float
    length: float
    text: str


@dataclass(frozen=True)
class Bar:
    """A node in the timeline. ``label`` is empty if the bar has no room for it."""

    node: NodeRun
    lane: int
    span: Span
    phases: Sequence[Span]
    is_critical: bool
    label: str


@dataclass(frozen=True)
class Timeline:
    """All bars, the number of lanes, and the ticks of the axis."""

    bars: Sequence[Bar]
    lanes: int
    ticks: Sequence[Span]


def timeline(run: RecordedRun) -> Timeline:
    """Return the timeline of a run. A node that has not ended lasts until the last moment of the run."""
    begin, end = run.started, run.last_moment
    whole = max(end - begin, 0.001)
    critical = {node.node for node in critical_path(run)}
    started = [node for node in run.nodes.values() if node.started is not None]
    lanes: list[tuple[float, int]] = []  # when a lane is free, and its number
    bars = []
    for node in sorted(started, key=lambda node: (node.started, node.node)):
        first, last = node.started or begin, node.finished or end
        if lanes and lanes[0][0] <= first:
            _, lane = heapq.heappop(lanes)
        else:
            lane = len(lanes)
        heapq.heappush(lanes, (last, lane))
        span = Span((first - begin) / whole, (last - first) / whole, duration(last - first))
        label = node.node if len(node.node) * _CHARACTER < span.length else ""
        bars.append(Bar(node, lane, span, _phases(node, last, begin, whole), node.node in critical, label))
    return Timeline(bars, len(lanes), _ticks(whole))


def critical_path(run: RecordedRun) -> list[NodeRun]:
    """Return the nodes that decided when the run ended, in the order of time.

    It begins at the node that ended last. Before each node stands the one of its inputs that ended last.
    """
    ended = {name: node for name, node in run.nodes.items() if node.finished is not None and node.started is not None}
    if not ended:
        return []
    path = [max(ended.values(), key=lambda node: node.finished or 0)]
    while sources := [ended[name] for name in run.inputs.get(path[-1].node, ()) if name in ended]:
        path.append(max(sources, key=lambda node: node.finished or 0))
    return path[::-1]


def _phases(node: NodeRun, last: float, begin: float, whole: float) -> list[Span]:
    ends = [*(moment for moment, _ in node.phases[1:]), last]
    return [
        Span((moment - begin) / whole, max(end - moment, 0) / whole, f"{name} ({duration(max(end - moment, 0))})")
        for (moment, name), end in zip(node.phases, ends, strict=False)
    ]


def _ticks(whole: float) -> list[Span]:
    step = next(
        (step for step in _STEPS if whole / step <= _MOST_TICKS), 86400 * (1 + int(whole / 86400 / _MOST_TICKS))
    )
    return [Span(second / whole, 0, duration(second) if second else "0") for second in range(0, int(whole) + 1, step)]
