"""Paths in printed errors: relative to the current folder where they are in it, or in its project."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.ui.problem_formats import as_github, as_sarif, findings_of
from stagewright.ui.text import error_text


@pytest.fixture
def error(tmp_path: Path) -> StagewrightError:
    """Return an error of the project in the folder ``a b`` that names several of its paths."""
    project = tmp_path / "a b"
    (project / "stages").mkdir(parents=True)
    (project / "stagewright.toml").touch()
    file = project / "stagewright.toml"
    text = f"{file}:1:1, '{project}/x' and {project} but not /etc{project}/y"
    return StagewrightError(Reason.SYNTAX, text, place=Place(file, 2, 3), hint=f"create {project}/x")


@pytest.mark.parametrize(("where", "start"), [("a b", ""), ("a b/stages", "../"), (".", "a b/")])
def test_paths_of_the_project_are_relative(
    error: StagewrightError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, start: str
) -> None:
    monkeypatch.chdir(tmp_path / where)
    project = tmp_path / "a b"
    message = f"{start}stagewright.toml:1:1, '{start}x' and {project} but not /etc{project}/y"
    text = f"error: {start}stagewright.toml:2:3: {message}\n  hint: create {start}x"
    assert error_text(error) == text
    assert error_text(ProblemsError([error, error])) == f"{text}\n{text}\n2 errors"
    (finding,) = findings_of(error)
    assert (finding.message, finding.place) == (message, error.place)


def test_paths_of_a_project_elsewhere_are_whole(
    error: StagewrightError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert error_text(error) == f"error: {error}"


def test_texts_about_files_outside_of_the_project_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "spec"
    text = f"the root has no {tmp_path}/group"
    assert error_text(StagewrightError(Reason.SYNTAX, text, place=Place(file, 1))) == f"error: spec:1: {text}"
    assert error_text(StagewrightError(Reason.SYNTAX, text)) == f"error: {text}"


def test_a_removed_current_folder_leaves_paths_whole(
    error: StagewrightError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert error_text(error) == f"error: {error}"


def test_annotations_are_relative_to_the_checkout(
    error: StagewrightError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow can change to the folder of a project: GitHub's runner names the checkout."""
    monkeypatch.chdir(tmp_path / "a b")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (line,) = as_github(findings_of(error))
    assert ",file=a b/stagewright.toml,line=2,col=3::" in line
    assert '"uri": "a%20b/stagewright.toml"' in as_sarif(findings_of(error))
