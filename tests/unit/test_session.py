"""A session: opening a project, planning, building in a small root, and shells in the roots of failed builds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_project import BUSYBOX, write_busybox_project, write_script

from stagewright.engine.build_options import BuildOptions
from stagewright.engine.plan import State
from stagewright.engine.session import Session
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import Event, NodeNotice, Published, RunFinished, RunStarted, Status

STAGES = """
[stages.live]
kind = "livecd-stage1"
root = "base"
script = "script.sh"
[stages.other]
kind = "tarball"
root = "base"
[stages.pack]
kind = "tarball"
root = "live"
"""


pytestmark = pytest.mark.skipif(not BUSYBOX.exists(), reason="NOT TESTED: no static busybox")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose seed is a busybox, and whose stage runs a script."""
    programs, scripts = ("sh", "bash", "cat", "sleep", "touch"), {"script.sh": "echo good > /result"}
    return write_busybox_project(tmp_path / "project", STAGES, programs, scripts)


def script(project: Path, text: str) -> None:
    write_script(project, "script.sh", text)


def opened(project: Path, *listeners: list[Event]) -> Session:
    return Session.open(project, store=project.parent / "store", listeners=[one.append for one in listeners])


# opening


def test_a_session_is_opened_from_a_folder_below(project: Path) -> None:
    (project / "deep/er").mkdir(parents=True)
    session = Session.open(project / "deep/er", store=project.parent / "store")
    assert session.project.folder == project
    assert not session.store.has(session.plan().steps["live"].node.yields, "0" * 64)


def test_reading_a_project_makes_no_store(project: Path) -> None:
    session = opened(project)
    assert session.check() == ("live", "other", "pack")
    assert len(session.graph.nodes) == 4
    assert not (project.parent / "store").exists()


def test_there_is_no_session_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        Session.open(tmp_path)
    assert caught.value.reason is Reason.NO_PROJECT


def test_all_mistakes_of_a_project_are_raised_at_once(project: Path) -> None:
    file = project / "stagewright.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("root =", "roof ="), encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        opened(project)
    assert len(caught.value.problems) >= 3


def test_the_graph_is_made_once(project: Path) -> None:
    session = opened(project)
    assert session.graph is session.graph
    session.plan()
    assert session.plan().graph is session.graph


@pytest.mark.parametrize("method", ["check", "plan", "unpinned", "build", "fetch", "prepare", "resolve_pins"])
def test_unknown_targets_are_reported_by_every_method(project: Path, method: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        getattr(opened(project), method)(["pakc"])
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert "'pack'" in caught.value.hint


def test_what_is_not_built_has_no_result_and_no_log(project: Path) -> None:
    for method in ("result", "logs"):
        with pytest.raises(StagewrightError) as caught:
            getattr(opened(project), method)("pack")
        assert caught.value.reason is Reason.NOT_BUILT
        assert caught.value.hint == "stagewright build pack"


# building


@pytest.mark.real
def test_a_build_publishes_its_results_and_reports_them(project: Path) -> None:
    events: list[Event] = []
    session = opened(project, events)
    result = session.build(["pack"])
    result.raise_failures()
    assert result.status is Status.BUILT
    assert result.statuses == {"seed:base": Status.BUILT, "live": Status.BUILT, "pack": Status.BUILT}
    (path,) = result.outputs["pack"]
    assert Path(path).parent == project / "out"
    assert [type(event) for event in events if isinstance(event, RunStarted | RunFinished | Published)] == [
        RunStarted,
        RunFinished,
        Published,
    ]
    assert (session.result("live") / "result").read_text(encoding="utf-8") == "good\n"
    assert len(session.logs("live")) == 1
    again = session.build(["pack"])
    assert (again.statuses, again.outputs) == ({}, result.outputs)
    assert {step.state for step in again.plan.steps.values()} == {State.CACHED}


@pytest.mark.real
def test_what_fails_is_in_the_result_and_the_rest_is_built(project: Path) -> None:
    script(project, "exit 3")
    session = opened(project)
    result = session.build(options=BuildOptions(keep_going=True))
    assert result.status is Status.FAILED
    assert result.statuses["pack"] is Status.SKIPPED
    assert result.statuses["other"] is Status.BUILT
    assert list(result.outputs) == ["other"]
    with pytest.raises(ProblemsError) as caught:
        result.raise_failures()
    (problem,) = caught.value.problems
    assert problem.place
    assert problem.place.file == project / "stagewright.toml"
    assert "stagewright shell live" in problem.hint


@pytest.mark.real
def test_a_build_leaves_the_root_that_a_shell_is_open_in(project: Path) -> None:
    script(project, "echo bad > /result; exit 3")
    events: list[Event] = []
    session = opened(project, events)
    session.build(["live"])
    kept = session.store.failed(session.project.records, "live")
    assert kept.is_dir()
    words = [sys.executable, "-m", "stagewright", "--store", str(session.store.path), "shell", "live", "--"]
    inside = "cat /result; read line; cat /result"
    with subprocess.Popen(
        [*words, "sh", "-c", inside], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin
        assert shell.stdout
        assert shell.stdout.readline() == "bad\n"
        busy = subprocess.run([*words, "true"], cwd=project, capture_output=True, text=True, check=False)
        assert busy.returncode == 4, busy.stderr
        script(project, "echo good > /result")
        events.clear()
        assert opened(project, events).build(["live"]).status is Status.BUILT
        assert any("shell is open" in event.text for event in events if isinstance(event, NodeNotice))
        assert kept.is_dir()
        shell.stdin.write("\n")
        shell.stdin.close()
        assert shell.stdout.read() == "bad\n"
    assert shell.returncode == 0
    assert not kept.exists(), "a later build succeeded, so it is of no use when the shell ends"


@pytest.mark.real
def test_a_root_without_the_program_is_named(project: Path) -> None:
    (project / "bare/bin").mkdir(parents=True)
    (project / "bare/bin/true").symlink_to("/bin/busybox-of-no-one")
    with (project / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write('[seeds.bare]\nfile = "bare"\n[stages.bare-packed]\nkind = "tarball"\nroot = "bare"\n')
    session = opened(project)
    assert session.build(["bare-packed"]).status is Status.BUILT
    words = [sys.executable, "-m", "stagewright", "--store", str(session.store.path), "shell", "bare"]
    for command, what in (
        ([], "no shell"),
        (["--", "ls"], "no program ls"),
        (["--", "/bin/true"], "no program /bin/true"),
    ):
        done = subprocess.run([*words, *command], cwd=project, capture_output=True, text=True, check=False)
        assert f"error: seed:bare: {'this root has ' if not command else ''}{what}" in done.stderr, done.stderr
        assert (done.returncode, "bwrap" in done.stderr) == (1, False)
