"""Paths of the command line that the system refuses, and output that cannot be written: errors without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.cli.usage import path_error
from stagewright.errors import Exit


def test_a_folder_that_cannot_be_made_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("/proc/none", f"{tmp_path}/file/x", "x" * 300):
        assert run(["init", "stage4", folder]) == Exit.INVALID
        said = capfd.readouterr().err
        assert said.startswith(f"error: {folder}: ")
        assert "Traceback" not in said


def test_a_file_that_cannot_be_written_is_named(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "none" / "report.html"
    error = FileNotFoundError(2, "No such file or directory", str(file.parent / ".report.html.1234"))
    for words in (["report", "-o", str(file)], ["report", f"--output={file}"], ["report", "-o", "none/report.html"]):
        found = path_error(error, words)
        assert found
        assert found.message.endswith("report.html: No such file or directory")


def test_paths_that_the_user_did_not_name_are_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["build", "none", "-o", "out"]
    assert path_error(FileNotFoundError(2, "No such file or directory", "/usr/share/none"), words) is None
    assert path_error(FileNotFoundError(2, "No such file or directory", str(tmp_path / "other")), words) is None
    assert path_error(OSError(5, "Input/output error"), words) is None


def test_a_removed_current_folder_is_reported(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run(["check"]) == Exit.INVALID
    assert "the current folder was removed" in capfd.readouterr().err


def test_a_store_that_cannot_be_made_is_reported(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stagewright.toml").write_text('format = 1\nproject.name = "p"\n', encoding="utf-8")
    monkeypatch.setenv("STAGEWRIGHT_STORE", "/proc/none")
    assert run(["-C", str(tmp_path), "build"]) == Exit.STORE
    assert "the store /proc/none cannot be created" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["Stagewright.toml", "stagewright.tml", "stagewrigth.toml"])
def test_a_misspelt_project_file_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert run(["-C", str(tmp_path), "check"]) == Exit.INVALID
    assert f"hint: rename {tmp_path / name}" in capfd.readouterr().err
