"""Two runs on one store: each node is built once, the other run waits for it, or takes over when the first dies."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.processes import Watched, assert_nothing_left
from integration.support import make_small, states

pytestmark = pytest.mark.real

NODES = {"system", "live", "live+boot.squashfs", "iso"}


@pytest.fixture
def small(demo: Path) -> Path:
    """The demo with a small system, for runs that do not wait for a moment of its build."""
    make_small(demo)
    return demo


def test_two_runs_share_the_work(small: Path, fresh: Callable[..., Path]) -> None:
    store = fresh("seed:debian", "seed:debian-boot", "boot")
    first = Watched.start("iso", cwd=small, store=store)
    second = Watched.start("iso", cwd=small, store=store)
    assert [first.end(), second.end()] == [0, 0], f"{first}\n{second}"
    assert Counter([*first.built(), *second.built()]) == dict.fromkeys(NODES, 1)
    waited = [*first.events, *second.events]
    assert any(event["event"] == "NodeWaiting" for event in waited)
    assert_nothing_left(store)
    assert not list((store / "work").iterdir())
    assert set(states("iso", cwd=small, store=store).values()) <= {"cached", "not needed"}
    assert (small / "out").is_dir()


def test_two_projects_share_what_is_the_same(small: Path, tmp_path: Path, fresh: Callable[..., Path]) -> None:
    """Results have no project: what another project with the same keys has built is there."""
    store = fresh()
    other = tmp_path / "other"
    other.symlink_to(small)
    assert Watched.start("system", cwd=small, store=store).end() == 0
    second = Watched.start("live", cwd=other, store=store)
    assert second.end() == 0
    assert second.built() == ["live"]


def test_a_waiting_run_takes_over(demo: Path, fresh: Callable[..., Path]) -> None:
    store = fresh()
    first = Watched.start("system", cwd=demo, store=store)
    assert first.wait_for(node="system", phase="resolve")
    second = Watched.start("system", cwd=demo, store=store)
    assert second.wait_for(event="NodeWaiting", node="system")
    os.kill(first.process.pid, signal.SIGKILL)
    assert second.end() == 0, second
    assert second.built() == ["system"]
    assert_nothing_left(store)


def test_a_waiting_run_can_be_stopped(demo: Path, fresh: Callable[..., Path]) -> None:
    store = fresh()
    first = Watched.start("system", cwd=demo, store=store)
    assert first.wait_for(event="NodeStarted", node="system")
    second = Watched.start("system", cwd=demo, store=store)
    assert second.wait_for(event="NodeWaiting", node="system")
    os.killpg(second.process.pid, signal.SIGINT)
    assert second.end(30) == 130, second
    assert first.end() == 0, first
    assert first.built() == ["system"]


def test_a_run_that_waited_for_a_failure_tries_itself(demo: Path, fresh: Callable[..., Path]) -> None:
    """A failure leaves nothing in the store, so the waiting run makes its own attempt and reports it."""
    store = fresh("seed:debian", "seed:debian-boot", "system")
    script = demo / "fail.sh"
    script.write_text("sleep 3\nfalse\n", encoding="utf-8")
    toml = demo / "stagewright.toml"
    toml.write_text(
        toml.read_text(encoding="utf-8").replace('root_overlay = ["overlays/live"]', 'script = "fail.sh"'),
        encoding="utf-8",
    )
    first = Watched.start("live", cwd=demo, store=store)
    assert first.wait_for(node="live", phase="finish")
    second = Watched.start("live", cwd=demo, store=store)
    assert second.wait_for(event="NodeWaiting", node="live")
    assert [first.end(), second.end()] == [1, 1]
    assert second.has(event="NodeFinished", node="live", status="failed")
    assert "script" in second.text
