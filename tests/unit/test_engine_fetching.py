"""Fetching ahead: where Portage is asked for the sources of a stage, and what its failures mean there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stagewright.engine.fetching import EXPECTED, fetch_sources
from stagewright.engine.job import Job
from stagewright.engine.session import Session
from stagewright.engine.worker_process import Worker
from stagewright.engine.workspace import Workspace
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import Event, Listeners, NodeFinished, NodeNotice, Status
from stagewright.run import PIPE, spawn
from stagewright.store.meta import Meta

PROJECT = """
format = 1
[project]
name = "p"
source_date_epoch = 2026-11-20
[repos.main]
path = "repo"
[seeds.base]
file = "seed.tar"
[stages.low]
kind = "livecd-stage1"
root = "base"
packages = ["app-misc/hello"]
repos = ["main"]
profile = "default"
[stages.high]
kind = "livecd-stage1"
root = "low"
packages = ["app-misc/hello"]
repos = ["main"]
profile = "default"
[stages.pack]
kind = "tarball"
root = "high"
"""


def end(job: Job, reason: Reason | None = None) -> str:
    error = StagewrightError(reason, "cannot tell").to_dict() if reason else None
    return NodeFinished(node=job.node.id, status=Status.FAILED if reason else Status.BUILT, error=error).to_json()


def names(*files: str) -> Callable[[Job], str]:
    """A worker that finds these distfiles."""
    return lambda job: f"echo '{json.dumps(files)}' > fetched.json; echo '{end(job)}'"


def fails(reason: Reason) -> Callable[[Job], str]:
    return lambda job: f"echo '{end(job, reason)}'; exit 1"


@dataclass
class Site:
    """A project, its store, and workers that are shell scripts; what they were asked, and the events."""

    folder: Path
    behaviours: dict[str, Callable[[Job], str]] = field(default_factory=dict)
    asked: list[tuple[str, str, bool]] = field(default_factory=list)  # mode and node, root, in another's root
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("repo/profiles/default", "repo/app-misc/hello"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "repo/profiles/repo_name").write_text("main\n", encoding="utf-8")
        (self.folder / "seed.tar").touch()
        (self.folder / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
        self.session = Session.open(self.folder, store=self.folder.parent / "store")
        self.plan = self.session.plan()

    def put(self, *nodes: str) -> None:
        """Have the results of these nodes in the store, empty."""
        for node in nodes:
            step = self.plan.steps[node]
            tree = self.session.store.new_work(step.key.digest) / "tree"
            tree.mkdir()
            meta = Meta(step.key.digest, node, step.node.kind, 0.0, 1, step.key.data, [step.key.digest])
            self.session.store.commit(tree, step.node.yields, meta)
        self.plan = self.session.plan()

    def launch(self, job: Job, folder: Path, mode: str = "build") -> Worker:
        roots = {step.key.digest: name for name, step in self.plan.steps.items()}
        (_, key) = job.inputs["root"]
        self.asked.append((f"{mode} {job.node.id}", roots[key], job.other_root))
        text = self.behaviours.get(job.node.id, names(f"{job.node.id}.tar"))(job)
        process = spawn(["sh", "-c", text], cwd=folder, stdin=PIPE, stdout=PIPE, own_session=True)
        worker = Worker(job, folder, process, os.pidfd_open(process.pid))
        os.set_blocking(worker.fileno(), False)
        return worker

    def fetch(self, *, everything: bool = False) -> dict[str, tuple[str, ...]]:
        emit = Listeners(self.events.append)
        workspace = Workspace(self.session.project, self.session.store.path, emit, self.launch)
        found = fetch_sources(workspace, self.plan, everything=everything)
        assert all(bool(one.unknown) == (not one.files) for one in found)
        return {one.node: one.files for one in found}

    def ends(self) -> list[tuple[str, Status]]:
        return [(event.node, event.status) for event in self.events if isinstance(event, NodeFinished)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "project")


def test_a_stage_is_asked_in_its_own_root_if_that_is_built(site: Site) -> None:
    site.put("seed:base", "low")
    site.behaviours["high"] = names("a-1.tar", "b-2.tar")
    assert site.fetch() == {"high": ("a-1.tar", "b-2.tar")}
    assert site.asked == [("fetch high", "low", False)]
    assert site.ends() == [("high", Status.BUILT)]


def test_a_stage_is_asked_in_the_nearest_root_below_if_its_own_is_not_built(site: Site) -> None:
    site.put("seed:base")
    assert site.fetch() == {"low": ("low.tar",), "high": ("high.tar",)}
    assert site.asked == [("fetch low", "seed:base", False), ("fetch high", "seed:base", True)]


def test_without_any_root_nothing_is_asked(site: Site) -> None:
    assert site.fetch() == {"low": (), "high": ()}
    assert site.asked == []
    assert [event.node for event in site.events if isinstance(event, NodeNotice)] == ["low", "high"]


def test_everything_asks_for_built_stages_too(site: Site) -> None:
    site.put("seed:base", "low", "high", "pack")
    assert site.fetch() == {}
    assert site.fetch(everything=True) == {"low": ("low.tar",), "high": ("high.tar",)}


@pytest.mark.parametrize("reason", EXPECTED)
def test_a_failure_in_the_root_of_another_node_means_that_the_sources_are_unknown(site: Site, reason: Reason) -> None:
    site.put("seed:base")
    site.behaviours["high"] = fails(reason)
    assert site.fetch() == {"low": ("low.tar",), "high": ()}
    assert site.ends() == [("low", Status.BUILT), ("high", Status.SKIPPED)]


@pytest.mark.parametrize("node", ["low", "high"])
def test_failures_are_raised_with_their_places_when_all_others_are_fetched(site: Site, node: str) -> None:
    site.put("seed:base")
    site.behaviours[node] = fails(Reason.FETCH_FAILED)
    with pytest.raises(ProblemsError) as caught:
        site.fetch()
    (problem,) = caught.value.problems
    assert problem.reason is Reason.FETCH_FAILED
    assert problem.message.startswith(f"{node}: ")
    assert problem.place
    assert len(site.asked) == 2
    assert (node, Status.FAILED) in site.ends()


def test_a_failure_in_its_own_root_is_one_whatever_the_reason(site: Site) -> None:
    site.put("seed:base")
    site.behaviours["low"] = fails(Reason.DEPENDENCIES)
    with pytest.raises(ProblemsError):
        site.fetch()
