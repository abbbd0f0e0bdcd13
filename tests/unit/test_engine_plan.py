"""The plan, with a store that was filled by hand: what is there, what is made, and why."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from test_graph_keys import PROJECT, lay_out

from stagewright.engine.pins import PinTarget, request_of
from stagewright.engine.plan import Plan, State, files_reporter
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, FilesRead, NodeFinished, RunStarted, Status
from stagewright.kinds.common.base import Stage
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.model import Project
from stagewright.store.meta import Meta
from stagewright.store.store import Store
from stagewright.ui.plans import reasons

ALL = {
    "seed:debian",
    "seed:stage3",
    "one",
    "two",
    "three",
    "four",
    "pristine",
    "pristine.prepared",
    "system",
    "live",
    "boot",
    "net",
    "live+boot.squashfs",
    "iso",
    "pxe",
    "disk-root",
    "disk",
    "feed",
    "pack",
    "packages",
}
ABOVE_LIVE = {"live", "live+boot.squashfs", "iso", "pxe", "test:works", "test:loads", "test:together"}
ALL |= {"release:all", "bill:stage3", "test:works", "test:loads", "test:runs", "test:again", "test:together"}
ALL |= {"test:updated"}


class Site:
    """A project and a store that tests change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.store = Store(folder / "store")
        lay_out(self.folder)
        self.write(PROJECT)

    def write(self, text: str) -> None:
        (self.folder / "stagewright.toml").write_text(text, encoding="utf-8")

    @property
    def project(self) -> Project:
        return load(self.folder, kinds())

    @property
    def session(self) -> Session:
        return Session(self.project, self.store)

    def plan(self, *targets: str) -> Plan:
        return self.session.plan(targets)

    def build(self, *nodes: str) -> None:
        """Put into the store what these nodes would leave there."""
        for name, step in self.plan().steps.items():
            if name in nodes or not nodes:
                tree = self.store.new_work(step.key.digest) / "tree"
                tree.mkdir()
                meta = Meta(step.key.digest, name, step.node.kind, 0.0, 1, step.key.data)
                self.store.commit(tree, step.node.yields, meta)
                self.store.remember(self.project.records, name, step.key.data)

    def states(self, *targets: str) -> dict[State, set[str]]:
        found: dict[State, set[str]] = {state: set() for state in State}
        for name, step in self.plan(*targets).steps.items():
            found[step.state].add(name)
        return found

    def why(self, node: str) -> list[str]:
        plan = self.plan()
        return reasons(plan.steps[node], plan)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_first_build_makes_everything(site: Site) -> None:
    plan = site.plan()
    assert {step.node.id for step in plan.to_build} == ALL
    assert [reasons(step, plan) for step in plan.to_build] == [["never built"]] * len(ALL)
    assert all(step.first for step in plan.to_build)


def test_a_node_whose_last_build_failed_is_not_said_to_be_untried(site: Site) -> None:
    records, run = site.project.records, "20261130-163218-3997"
    log = site.store.log_folder(records, "live") / f"{run}.log"
    log.parent.mkdir(parents=True)
    log.write_text("!!! no\n", encoding="utf-8")
    error = StagewrightError(Reason.COMMAND_FAILED, "emerge failed").to_dict()
    started = RunStarted(run=run, project="p", nodes=["live"], cached=0, records=records)
    ended = NodeFinished(node="live", status=Status.FAILED, error=error, time=started.time + 60)
    events = site.store.path / "events" / f"{run}.jsonl"
    events.write_text(f"{started.to_json()}\n{ended.to_json()}\n", encoding="utf-8")
    first, why, place = site.why("live")
    assert (first, place) == ("not built yet", f"its log: {log}")
    assert re.fullmatch(r"the last build failed on \d{4}-\d\d-\d\d \d\d:\d\d: emerge failed", why)
    assert site.plan().steps["live"].to_dict()["failure"]["message"] == "emerge failed"
    events.write_text(f"{started.to_json()}\n", encoding="utf-8")  # it was killed
    assert site.why("live")[1].startswith("the last build was interrupted on")
    os.utime(log, (1, 1))
    site.build("live")  # and it was built since
    site.write(PROJECT.replace("[stages.live]\n", '[stages.live]\nhostname = "new"\n'))
    assert site.why("live") == ['settings.hostname: "new" is new']


def test_a_target_needs_what_it_is_made_of(site: Site) -> None:
    plan = site.plan("live", "pack", "live")
    assert plan.steps.keys() == {"seed:debian", "seed:stage3", "system", "live", "pack"}
    assert plan.targets == ("live", "pack")
    assert plan.sinks == ["live", "pack"]
    assert site.plan("works").sinks == ["test:works"]
    assert site.plan("debian").sinks == ["seed:debian"]


def test_nothing_is_made_that_is_there(site: Site) -> None:
    site.build()
    assert site.states()[State.CACHED] == ALL
    assert site.plan().to_build == []


def test_a_node_that_no_missing_node_needs_is_not_made(site: Site) -> None:
    """The live root is gone, but the squashfs made of it is there."""
    site.build("live+boot.squashfs", "boot", "pack", "three", "works", "iso")
    states = site.states("iso", "pack")
    assert states[State.CACHED] == {"live+boot.squashfs", "boot", "pack", "iso"}
    assert states[State.BUILD] == set()
    assert states[State.SKIP] == {"live", "system", "seed:debian", "seed:stage3"}


def test_what_is_needed_for_something_missing_is_made(site: Site) -> None:
    site.build()
    plan = site.plan()
    for name in ("test:works", "iso", "live"):
        node = plan.steps[name]
        (site.store.folder(node.node.yields, node.key.digest) / "meta.json").unlink()
    states = site.states("works")
    assert states[State.BUILD] == {"test:works", "iso"}
    assert states[State.SKIP] == {"live"}  # the squashfs is there, so no node needs the live root
    assert site.states()[State.BUILD] == {"test:works", "iso", "live"}  # unless it is a target itself
    plan = site.plan()
    assert [reasons(step, plan) for step in plan.to_build] == [["gone from the store"]] * 3


def test_a_changed_setting_is_named_and_reaches_its_users(site: Site) -> None:
    site.build()
    site.write(PROJECT.replace('use = ["-shout"]', 'use = ["shout"]'))
    assert site.states()[State.BUILD] == {
        "system",
        "packages",
        "disk-root",
        "disk",
        "feed",
        "test:updated",
        *ABOVE_LIVE,
    }
    assert site.why("system") == ['settings.use: ["-shout"] -> ["shout"]']
    assert site.why("live") == ["because system changes"]
    plan = site.plan("live")
    (line,) = reasons(plan.steps["live"], plan, keys=True)
    assert re.fullmatch(r"inputs\.root: [0-9a-f]{8} -> [0-9a-f]{8}", line)


def test_a_changed_file_is_named(site: Site) -> None:
    site.build()
    (site.folder / "overlay" / "new").touch()
    assert site.states()[State.BUILD] == ABOVE_LIVE
    assert site.why("live") == ["overlay has changed"]


def test_a_changed_repository_reaches_the_stages_that_install_from_it(site: Site) -> None:
    site.build()
    (site.folder / "repo" / "new.ebuild").touch()
    assert {"one", "two", "three", "system"} <= site.states()[State.BUILD]
    assert {"seed:debian", "seed:stage3", "boot"} <= site.states()[State.CACHED]


def test_going_back_makes_nothing(site: Site) -> None:
    site.build()
    site.write(PROJECT.replace('"login:"', '"ready"'))
    site.build("test:works")
    site.write(PROJECT)
    assert site.plan().to_build == []


def test_another_time_stamp_makes_everything(site: Site) -> None:
    site.build()
    site.write(PROJECT.replace("2026-11-20", "2026-11-21"))
    assert site.states()[State.BUILD] == ALL
    assert "context.source_date_epoch: 1795132800 -> 1795219200" in site.why("system")


def test_what_a_row_says(site: Site) -> None:
    site.build()
    site.write(PROJECT.replace('"login:"', '"ready"'))
    row = site.plan().steps["test:works"].to_dict()
    assert row["state"] == "build"
    assert row["why"] == [{"entry": "settings.expect", "old": ["login:"], "new": ["ready"]}]
    assert row["inputs"] == {"boots": "iso"}
    assert not row["first"]


def test_steps_are_in_build_order(site: Site) -> None:
    names = list(site.plan().steps)
    for name, step in site.plan().steps.items():
        assert all(names.index(source) < names.index(name) for source in step.node.inputs.values())


@pytest.mark.parametrize("target", ["iso2", "seed:iso", "test:iso", "live+boot.squashfs", ""])
def test_an_unknown_target_is_rejected(site: Site, target: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        site.plan("iso", target)
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert caught.value.hint


def test_a_project_of_seeds_only(site: Site) -> None:
    site.write('format = 1\n[project]\nname = "demo"\n[seeds.x]\nfile = "seed.tar.xz"\n')
    assert site.plan().sinks == ["seed:x"]


# pins


def test_a_seed_that_moves_must_be_pinned_for_what_it_is_now(site: Site) -> None:
    project = site.project
    assert [str(one) for one in site.session.unpinned([])] == [
        f"seed {name}" for name in ("debian", "newest", "image", "web", "theirs")
    ]
    assert site.session.unpinned(["system"]) == [PinTarget("seeds", "debian")]
    assert site.session.unpinned(["pack"]) == []
    seed = project.entries["seeds"]["debian"].model
    assert isinstance(seed, Stage)
    pin = {"request": request_of(seed), "packages": ["gcc=1"]}
    (site.folder / "stagewright.lock").write_text(project.lock.with_seed("debian", pin).text(), encoding="utf-8")
    assert site.session.unpinned(["system"]) == []
    site.write(PROJECT.replace('"gcc", ', ""))
    assert site.session.unpinned(["system"]) == [PinTarget("seeds", "debian")]


def test_what_a_pin_stands_for_is_part_of_the_key(site: Site) -> None:
    site.build()
    pin = {"request": "r", "resolved": "2026-01-01", "packages": ["gcc=1"]}
    lock = site.project.lock.with_seed("debian", pin)
    (site.folder / "stagewright.lock").write_text(lock.text(), encoding="utf-8")
    assert {"seed:debian", "system"} <= site.states()[State.BUILD]
    site.build()
    again = lock.with_seed("debian", {**pin, "request": "s", "resolved": "2026-02-02"})
    (site.folder / "stagewright.lock").write_text(again.text(), encoding="utf-8")
    changed = {step.node.id for step in site.plan().to_build}
    assert changed == {"release:all"}, "only the provenance of a release names the digest of the lock"


def test_two_pairs_of_roots_have_two_squashfs_nodes(site: Site) -> None:
    stages = '[stages.{}]\nkind = "livecd-stage1"\nroot = "stage3"\n'
    loads = '[stages."{}"]\nkind = "livecd-stage2"\nroot = "stage3"\n'
    discs = '[stages.{}]\nkind = "livecd-stage3"\nlive = "{}"\nboot = "{}"\n'
    site.write(
        PROJECT.partition("[stages.one]")[0]
        + stages.format("a")
        + stages.format('"a+b"')
        + loads.format("b+c")
        + loads.format("c")
        + discs.format("x", "a", "b+c")
        + discs.format("y", "a+b", "c")
    )
    graph = site.plan().graph
    assert graph.nodes["x"].inputs["squashfs"] != graph.nodes["y"].inputs["squashfs"]


def test_reading_many_files_is_reported(tmp_path: Path) -> None:
    events: list[Event] = []
    report = files_reporter(tmp_path, events.append, pause=0)
    for files in (1, 2):
        report(files)
    assert [(event.folder, event.done) for event in events if isinstance(event, FilesRead)] == [
        (str(tmp_path), 1),
        (str(tmp_path), 3),
    ]
