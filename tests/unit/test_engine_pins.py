"""Pins: looked up by a fake worker or in a real git repository, written one by one, and reported however they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stagewright.engine.job import Job
from stagewright.engine.pins import PinChange, PinTarget
from stagewright.engine.session import Session
from stagewright.engine.single import reported
from stagewright.engine.worker_process import Worker
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import Event, NodeFinished, NodeNotice, NodePhase, NodeStarted, Status
from stagewright.project.lock import Lock
from stagewright.repos.git import CommitRange
from stagewright.run import PIPE, spawn
from stagewright.ui.pins import change_lines

HEAD = 'format = 1\n[project]\nname = "p"\n'
SEED = '[seeds.{}]\nbootstrap = "debian"\nportage = ""\npackages = ["{}"]\n'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a look-up asks for the rights of a build")


def end(job: Job, reason: Reason | None = None) -> str:
    """The last line of a worker's output."""
    error = StagewrightError(reason, "no answer").to_dict() if reason else None
    status = Status.FAILED if reason else Status.BUILT
    return NodeFinished(node=job.node.id, status=status, error=error).to_json()


@dataclass
class Site:
    """A project whose workers are a shell script: it writes a pin, or does what ``behaviours`` has for a node."""

    folder: Path
    behaviours: dict[str, Callable[[Job], str]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def write(self, text: str) -> Session:
        (self.folder / "stagewright.toml").write_text(HEAD + text, encoding="utf-8")
        return self.session()

    def session(self) -> Session:
        opened = Session.open(self.folder, store=self.folder.parent / "store")
        return Session(opened.project, opened.store, [self.events.append], self.launch)

    def launch(self, job: Job, folder: Path, mode: str = "build") -> Worker:
        self.started.append(f"{mode} {job.node.id}")
        job.write(folder)
        text = self.behaviours.get(job.node.id, self.answer)(job)
        process = spawn(["sh", "-c", text], cwd=folder, stdin=PIPE, stdout=PIPE, own_session=True)
        worker = Worker(job, folder, process, os.pidfd_open(process.pid))
        os.set_blocking(worker.fileno(), False)
        return worker

    def answer(self, job: Job, version: int = 1) -> str:
        pin = json.dumps({"packages": [f"gcc={version}", "make=1"]})
        phase = NodePhase(node=job.node.id, phase="look").to_json()
        return f"echo '{phase}'; echo '{pin}' > pin.json; echo '{end(job)}'"

    @property
    def lock(self) -> Lock:
        return Lock.load(self.folder)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def ends(self) -> list[Status]:
        return [event.status for event in self.events if isinstance(event, NodeFinished)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "project").mkdir()
    return Site(tmp_path / "project")


def test_a_missing_pin_is_looked_up_once_and_written(site: Site) -> None:
    (change,) = site.write(SEED.format("small", "gcc")).resolve_pins()
    assert (change.target, change.old, change.unchanged) == (PinTarget("seeds", "small"), None, False)
    assert site.lock.seeds["small"]["packages"] == ["gcc=1", "make=1"]
    assert site.lock.seeds["small"].keys() == {"request", "resolved", "packages"}
    assert [type(event) for event in site.events] == [NodeStarted, NodePhase, NodeFinished]
    assert site.session().resolve_pins(locked=True) == []
    assert site.started == ["pin seed:small"]


def test_locked_names_what_is_missing_and_looks_nothing_up(site: Site) -> None:
    session = site.write(SEED.format("one", "gcc") + SEED.format("two", "make"))
    with pytest.raises(StagewrightError) as caught:
        session.resolve_pins(locked=True)
    assert caught.value.reason is Reason.LOCK_STALE
    assert "seed one, seed two" in caught.value.message
    assert "stagewright update one two" in caught.value.hint
    assert caught.value.place
    assert (site.started, site.lock.file.exists()) == ([], False)


def test_a_lock_is_written_even_if_nothing_is_pinned(site: Site) -> None:
    (site.folder / "seed.tar").touch()
    session = site.write('[seeds.x]\nfile = "seed.tar"\n')
    with pytest.raises(StagewrightError):
        session.check(locked=True)
    session.resolve_pins()
    session.check(locked=True)


def test_a_failed_look_up_does_not_lose_the_others(site: Site) -> None:
    site.behaviours["seed:one"] = lambda job: f"echo '{end(job, Reason.FETCH_FAILED)}'; exit 1"
    session = site.write(SEED.format("one", "gcc") + SEED.format("two", "make"))
    with pytest.raises(StagewrightError) as caught:
        session.resolve_pins()
    assert caught.value.reason is Reason.FETCH_FAILED
    assert caught.value.place
    assert caught.value.place.line == 4
    assert list(site.lock.seeds) == ["two"]
    assert sorted(site.ends()) == [Status.BUILT, Status.FAILED]  # they end in any order


def test_all_failed_look_ups_are_raised_together(site: Site) -> None:
    for node in ("seed:one", "seed:two"):
        site.behaviours[node] = lambda job: f"echo '{end(job, Reason.FETCH_FAILED)}'; exit 1"
    with pytest.raises(ProblemsError) as caught:
        site.write(SEED.format("one", "gcc") + SEED.format("two", "make")).resolve_pins()
    assert len(caught.value.problems) == 2


def test_a_worker_that_is_killed_fails_the_look_up(site: Site) -> None:
    site.behaviours["seed:one"] = lambda job: "kill -9 $$"
    with pytest.raises(StagewrightError) as caught:
        site.write(SEED.format("one", "gcc")).resolve_pins()
    assert caught.value.reason is Reason.BUILD_FAILED
    assert site.ends() == [Status.FAILED]
    assert not site.lock.seeds


def test_an_interrupted_look_up_is_reported_as_interrupted(site: Site) -> None:
    def stop(job: Job) -> str:
        raise KeyboardInterrupt

    site.behaviours["seed:one"] = stop
    with pytest.raises(KeyboardInterrupt):
        site.write(SEED.format("one", "gcc")).resolve_pins()
    assert site.ends() == [Status.INTERRUPTED]
    assert not list((site.folder.parent / "store/work").iterdir())


def test_seeds_are_looked_up_side_by_side(site: Site) -> None:
    flags = site.folder.parent
    for name, other in (("one", "two"), ("two", "one")):
        meet = f"touch {flags}/{name}; until test -e {flags}/{other}; do sleep 0.01; done; "
        site.behaviours[f"seed:{name}"] = lambda job, meet=meet: meet + site.answer(job)  # type: ignore[misc]
    session = site.write(SEED.format("one", "gcc") + SEED.format("two", "make"))
    assert len(session.resolve_pins()) == 2
    assert sorted(site.lock.seeds) == ["one", "two"]
    for name in ("one", "two"):
        own = [type(event) for event in site.events if getattr(event, "node", "") == f"seed:{name}"]
        assert own == [NodeStarted, NodePhase, NodeFinished]


def test_an_interrupt_kills_the_other_look_ups(site: Site) -> None:
    flag, pid = site.folder.parent / "flag", site.folder.parent / "pid"

    def stop(job: Job) -> str:
        while not flag.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    site.behaviours["seed:one"] = stop
    site.behaviours["seed:two"] = lambda job: f"echo $$ > {pid}; touch {flag}; exec sleep 1000"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        site.write(SEED.format("one", "gcc") + SEED.format("two", "make")).resolve_pins()
    assert time.monotonic() - started < 100
    assert site.ends() == [Status.INTERRUPTED, Status.INTERRUPTED]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not list((site.folder.parent / "store/work").iterdir())


def test_changed_settings_are_looked_up_again_with_a_note(site: Site) -> None:
    site.write(SEED.format("one", "gcc")).resolve_pins()
    session = site.write(SEED.format("one", "make"))
    assert session.unpinned() == [PinTarget("seeds", "one")]
    session.resolve_pins()
    assert [event.node for event in site.of(NodeNotice) if isinstance(event, NodeNotice)] == ["seed:one"]
    assert session.unpinned() == []


def test_an_update_moves_pins_and_the_time_stamp(site: Site) -> None:
    session = site.write(SEED.format("one", "gcc"))
    session.resolve_pins()
    lock = site.lock
    lock.file.write_text(lock.text().replace(str(lock.epoch), "5"), encoding="utf-8")
    site.behaviours["seed:one"] = lambda job: site.answer(job, 2)
    before = lock.file.read_text(encoding="utf-8")
    (change,) = site.session().update(dry_run=True)
    assert list(change_lines(change)) == ["one: -gcc=1", "one: +gcc=2"]
    assert lock.file.read_text(encoding="utf-8") == before
    site.session().update(["one"])
    assert (site.lock.epoch, site.lock.seeds["one"]["packages"][0]) == (5, "gcc=2")
    (again,) = site.session().update()
    assert again.unchanged
    assert list(change_lines(again)) == ["one: nothing moved"]
    assert site.lock.epoch > 5


@pytest.mark.parametrize("name", ["tow", "file"])
def test_only_what_is_pinned_can_be_updated(site: Site, name: str) -> None:
    (site.folder / "seed.tar").touch()
    session = site.write(SEED.format("two", "gcc") + '[seeds.file]\nfile = "seed.tar"\n')
    with pytest.raises(StagewrightError) as caught:
        session.update([name])
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert "two" in caught.value.hint


# repositories


def repository(folder: Path) -> str:
    """A git repository with an ebuild repository in it; its address."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "metadata").mkdir()
    (folder / "profiles/repo_name").write_text("world\n", encoding="utf-8")
    (folder / "metadata/layout.conf").write_text("masters =\n", encoding="utf-8")
    run(folder, "init", "-q", "-b", "main")
    commit(folder, "first")
    return f"file://{folder}"


def commit(folder: Path, subject: str) -> None:
    run(folder, "add", "--all")
    run(folder, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--allow-empty", "-q", "-m", subject)


def run(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def world(site: Site) -> Path:
    """A project with a git repository, in the folder that is returned."""
    folder = site.folder.parent / "world"
    site.write(f'[repos.world]\ngit = "{repository(folder)}"\n')
    return folder


def test_a_repository_is_pinned_and_its_commits_are_listed(site: Site, world: Path) -> None:
    session = site.session()
    (first,) = session.resolve_pins()
    assert session.project.repo_path("world").is_dir(), "the project was read again, with what is pinned now"
    (line,) = change_lines(first)
    assert line.startswith("world: pinned to ")
    commit(world, "second")
    (moved,) = session.update(["world"])
    assert moved.commits == CommitRange(1, ("second",))
    assert list(change_lines(moved))[1:] == ["world: 1 commit", "  second"]
    (same,) = session.update(["world"])
    (line,) = change_lines(same)
    assert line.startswith("world: nothing moved, ")


READS: list[str] = []
"""Project files that this process has opened since the list was last cleared."""


def note_reads(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith("stagewright.toml"):
        READS.append(str(arguments[0]))


sys.addaudithook(note_reads)


def test_a_project_is_read_again_once_if_a_repository_moved(site: Site, world: Path) -> None:
    (site.folder / "seed.tar").touch()
    with (site.folder / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write('[seeds.base]\nfile = "seed.tar"\n[stages.low]\nkind = "livecd-stage1"\nroot = "base"\n')
        file.write('repos = ["world"]\nprofile = "default"\npackages = ["app-misc/hello"]\n')
    for name in ("profiles/default/make.defaults", "app-misc/hello/hello-1.ebuild"):
        (world / name).parent.mkdir(parents=True)
        (world / name).touch()
    commit(world, "a profile and a package")
    READS.clear()
    session = Session.open(site.folder, store=site.folder.parent / "store")
    assert set(session.prepare().steps) == {"seed:base", "low"}
    assert len(READS) == 2
    session.prepare()
    assert len(READS) == 2
    shutil.rmtree(site.folder.parent / "store/cache/repos")
    session.prepare()
    assert len(READS) == 3


@pytest.mark.parametrize("problem", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_fetch_of_a_repository_is_never_reported_as_built(
    site: Site, world: Path, problem: type[BaseException]
) -> None:
    def stop(event: Event) -> None:
        site.events.append(event)
        if isinstance(event, NodePhase):
            raise problem

    opened = site.session()
    with pytest.raises(problem):
        Session(opened.project, opened.store, [stop]).resolve_pins()
    assert site.ends() == [Status.INTERRUPTED]
    assert not site.lock.repos


def test_the_defect_of_a_look_up_is_reported_as_failed(site: Site) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        reported(site.events.append, "repo:x", "fetch", "k", site.folder / "log"),
    ):
        raise ZeroDivisionError("division by zero")
    (event,) = site.of(NodeFinished)
    assert isinstance(event, NodeFinished)
    assert event.status is Status.FAILED
    assert event.error
    assert event.error["reason"] == Reason.BUG
    assert "Traceback" in event.error["detail"]


def test_commits_that_cannot_be_listed() -> None:
    old, new = ({"commit": number * 40, "date": "2026-11-20", "tree": number} for number in "12")
    lines = list(change_lines(PinChange(PinTarget("repos", "world"), old, new)))
    assert lines[0] == f"world: 2026-11-20 ({'1' * 12}) -> 2026-11-20 ({'2' * 12})"
    assert "not an ancestor" in lines[1]


def test_only_some_commits_are_listed() -> None:
    old, new = ({"commit": number * 40, "date": "2026-11-20", "tree": number} for number in "12")
    change = PinChange(PinTarget("repos", "world"), old, new, CommitRange(3, ("c", "b")))
    assert list(change_lines(change))[1:] == ["world: 3 commits", "  c", "  b", "  and 1 more"]
    assert change.to_dict()["commits"] == {"count": 3, "subjects": ["c", "b"]}
