"""Early cut-off: what stands on a result that was built again with the same content is not built again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_project import BUSYBOX, write_busybox_project, write_script

from stagewright.engine.plan import State
from stagewright.engine.session import Session
from stagewright.events import Event, NodeNotice, NodeStarted
from stagewright.graph.node import Yields
from stagewright.store.integrity import State as Health
from stagewright.store.integrity import examine

STAGES = """
[stages.lower]
kind = "livecd-stage1"
root = "base"
script = "lower.sh"
[stages.upper]
kind = "livecd-stage1"
root = "lower"
script = "upper.sh"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BUSYBOX.exists(), reason="NOT TESTED: no static busybox"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    scripts = {"lower.sh": "mkdir /etc; echo one > /etc/one", "upper.sh": "echo two > /etc/two"}
    return write_busybox_project(tmp_path / "project", STAGES, ("sh", "mkdir"), scripts)


def test_a_result_with_equal_inputs_is_taken_and_other_content_is_built(project: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    session = Session.open(project, store=tmp_path / "store", listeners=[heard.append])

    def started() -> list[str]:
        found = [event.node for event in heard if isinstance(event, NodeStarted)]
        heard.clear()
        return found

    first = session.build(["upper"])
    first.raise_failures()
    assert started() == ["seed:base", "lower", "upper"]

    write_script(project, "lower.sh", "# a comment\nmkdir /etc; echo one > /etc/one")
    session.build(["lower"]).raise_failures()
    assert started() == ["lower"]
    step = session.plan(["upper"]).steps["upper"]
    assert (step.state, step.same) == (State.BUILD, first.plan.steps["upper"].key.digest)
    assert session.plan(["upper"]).steps["lower"].content == first_content(
        session, first.plan.steps["lower"].key.digest
    )
    second = session.build(["upper"])
    second.raise_failures()
    assert [event.text for event in heard if isinstance(event, NodeNotice) and event.node == "upper"]
    assert started() == []
    key, old = second.plan.steps["upper"].key.digest, step.same
    assert key != old and session.store.has(Yields.LAYER, key)
    assert examine(session.store, Yields.LAYER, key).state is Health.WHOLE
    assert session.store.meta(Yields.LAYER, key).stack == [
        second.plan.steps[name].key.digest for name in ("upper", "lower", "seed:base")
    ]
    if os.geteuid() == 0:
        trees = [session.store.tree(Yields.LAYER, one) / "etc/two" for one in (key, old)]
        assert trees[0].samefile(trees[1])

    write_script(project, "lower.sh", "mkdir /etc; echo other > /etc/one")
    session.build(["upper"]).raise_failures()
    assert started() == ["lower", "upper"]


def first_content(session: Session, key: str) -> str:
    from stagewright.store.same_content import content_of

    return content_of(session.store, Yields.LAYER, key)
