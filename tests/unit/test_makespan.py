"""The expected length of a run on several machines."""

from __future__ import annotations

import pytest
from test_ready_nodes import node

from stagewright.engine.makespan import makespan
from stagewright.ui.plans import estimate_lines

CHAINS = [node("a"), node("b"), node("c", "b"), node("d", "a", "c"), node("e")]
TIMES = {"a": 4.0, "b": 1.0, "c": 2.0, "d": 5.0, "e": 3.0}


@pytest.mark.parametrize(("workers", "seconds"), [(1, 15), (2, 9), (3, 9), (100, 9)])
def test_the_longest_chain_is_the_limit(workers: int, seconds: float) -> None:
    found = makespan(CHAINS, TIMES, workers)
    assert (found.seconds, found.longest_way, found.work, found.unknown) == (seconds, 9, 15, 0)


def test_nodes_that_were_never_built_take_the_usual_time() -> None:
    found = makespan([*CHAINS, node("new")], TIMES, 1)
    assert (found.unknown, found.usual, found.work) == (1, 3, 18)
    assert makespan([node("new")], {}, 4).seconds == 1


@pytest.mark.parametrize(
    ("times", "said"),
    [({}, "no node of it was built before"), (TIMES, "on 2 machines: 9.0s, where one alone needs 15s")],
)
def test_the_estimate_in_words(times: dict[str, float], said: str) -> None:
    assert said in "\n".join(estimate_lines(makespan(CHAINS, times, 2)))


def test_nothing_to_build_takes_no_time() -> None:
    assert makespan([], {}, 3).seconds == 0
