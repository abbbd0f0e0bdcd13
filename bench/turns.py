"""Stagewright and another program make the same result in turns: their costs, and a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.measure import Row, best, timed

Cost = tuple[float, float]
"""Wall time and processor time in seconds."""


@dataclass(frozen=True)
class Case:
    """A row of a table: what is measured, how often, and a function that makes a change before each turn."""

    what: str
    count: int = 1
    change: Callable[[int], object] = lambda _: None


@dataclass(frozen=True)
class Pair:
    """Functions that make the same result with Stagewright and with another program."""

    ours: Callable[[], None]
    theirs: Callable[[], None]

    def costs(self, case: Case) -> tuple[Cost, Cost]:
        """Make a change, and then build with both, as often as the case says. Return the least costs of both."""
        costs: tuple[list[Cost], list[Cost]] = [], []
        for number in range(case.count):
            case.change(number)
            for found, build in zip(costs, (self.ours, self.theirs), strict=True):
                found.append(timed(build))
        return best(costs[0]), best(costs[1])


def table(result: str, program: str, found: Iterable[tuple[str, Cost, Cost]]) -> list[str]:
    """Return the lines of a table. ``found``: names of cases, and the costs of both."""
    lines = [f"| {result} | Stagewright | {program} | ratio of processor time |", "|---|---|---|---|"]
    for what, *costs in found:
        cells = [f"{wall:.1f} s, of processors {cpu:.1f} s" for wall, cpu in costs]
        lines.append(f"| {what} | {cells[0]} | {cells[1]} | {costs[0][1] / costs[1][1]:.2f} |")
    return lines


def rows(what: str, costs: tuple[Cost, Cost], limit: float) -> list[Row]:
    """Return the rows of a benchmark: the ratios of wall time and of processor time to those of another program."""
    return [
        Row(f"{what}, {clock}", mine / its, limit, "", f"{mine:.1f} s against {its:.1f} s")
        for clock, mine, its in zip(("wall", "processors"), *costs, strict=True)
    ]
