"""``stagewright test`` without machines: names, folders, and tests whose inputs are not built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_iso import SMALL_ISO

from stagewright.cli.main import run
from stagewright.engine.session import Session
from stagewright.engine.test_runs import _empty, _prune, _verdict, missing_inputs, results_folder, run_test, step_of
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.events import Event
from stagewright.testing.results import MachineResult, Report
from stagewright.vm.console_scan import Finding

PROJECT = f"""{SMALL_ISO}[tests.starts-up]
boots = "iso"
steps = [{{ wait = "ready" }}]
[tests.again]
boots = "iso"
script = "test.py"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "seed").mkdir(parents=True)
    (folder / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    (folder / "test.py").write_text("def test(machine): pass\n", encoding="utf-8")
    return folder


def test_the_tests_are_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-C", str(project), "test", "--list"]) == Exit.OK
    assert capsys.readouterr().out == "starts-up\tboots\nagain\tboots\n"


@pytest.mark.parametrize("words", [["start-up"], ["--interactive"], ["--interactive", "again"]])
def test_what_cannot_be_run_is_refused(
    project: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run(["-C", str(project), "test", *words]) == Exit.INVALID
    assert "hint" in capsys.readouterr().err


def test_inputs_that_are_not_built_are_named(project: Path, tmp_path: Path) -> None:
    session = Session.open(project, store=tmp_path / "store", reads_only=True)
    assert missing_inputs(session.plan(["again"]), session.store) == ["iso"]
    assert not (tmp_path / "store").exists()


def test_a_project_that_changed_during_the_build_is_reported(project: Path, tmp_path: Path) -> None:
    """``stagewright test`` reads the project again after the build; then what it starts has another key."""
    session = Session.open(project, store=tmp_path / "store", reads_only=True)
    with pytest.raises(StagewrightError) as caught:
        run_test(session.plan(["again"]), session.store, tmp_path / "results", lambda _: None)
    assert caught.value.reason is Reason.NOT_BUILT
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_store_that_cannot_be_written_is_reported(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-C", str(project), "--store", "/proc/store", "test", "again"]) == Exit.INVALID
    assert "you cannot write to the store" in capsys.readouterr().err


def test_the_text_of_a_script_is_part_of_the_key(project: Path, tmp_path: Path) -> None:
    def key() -> str:
        session = Session.open(project, store=tmp_path / "store", reads_only=True)
        return session.plan(["again"]).steps["test:again"].key.digest

    before = key()
    (project / "test.py").write_text("def test(machine): machine.start()\n", encoding="utf-8")
    assert key() != before


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("", None),
        ('console = "fail"', Reason.CONSOLE_ERRORS),
        ('console = "fail"\nallow = [{ pattern = "dev sr0", reason = "bug 1" }]', None),
    ],
)
def test_errors_on_the_console_count_as_in_a_build(
    project: Path, tmp_path: Path, settings: str, reason: Reason | None
) -> None:
    file = project / "stagewright.toml"
    file.write_text(PROJECT + settings, encoding="utf-8")
    step = step_of(Session.open(project, store=tmp_path / "store", reads_only=True).plan(["again"]))
    error = Finding(7, 1.2, "I/O error, dev sr0", "a disk returned an error", "check the disk", "storage")
    machine = MachineResult(name="machine", command="qemu", console=Path("console.log"), findings=(error,))
    remarks: list[Event] = []
    report = Report(name="again", passed=True, seconds=1.0, steps=(), machines=(machine,))
    found = _verdict(step, report, remarks.append)
    assert (found.reason if found else None) is reason
    assert len(remarks) == (0 if settings else 1)


def test_results_are_in_the_project_or_in_a_folder_of_the_user(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Session.open(project, store=tmp_path / "store", reads_only=True).plan(["again"])
    assert results_folder(plan, None) == project / "out/tests/again"
    assert results_folder(plan, tmp_path / "x") == tmp_path / "x/again"
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert results_folder(plan, None) == tmp_path / "state/stagewright/tests" / plan.project.records / "again"


def test_only_results_of_tests_are_removed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(StagewrightError) as caught:
        _empty(other)
    assert caught.value.reason is Reason.USAGE
    assert (other / "thesis.txt").exists()
    (other / "result.json").touch()
    (other / "server").mkdir()
    (other / "server/console.log").touch()
    _empty(other)
    assert list(other.iterdir()) == []
    _empty(tmp_path / "missing")


def test_disks_and_keys_of_machines_are_removed(tmp_path: Path) -> None:
    kept = ["console.log", "console.timed.log", "result.json", "screen.png", "test.log", "files/disk.qcow2"]
    gone = ["disk.qcow2", "variables.fd", "key", "key.pub", "tpm/state", "a/disk.qcow2", "qemu.log", ".lock"]
    for name in (*kept, "a/console.log", *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _prune(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*kept, "a/console.log"}
    assert not (tmp_path / "tpm").exists()
