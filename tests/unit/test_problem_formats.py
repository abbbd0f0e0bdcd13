"""Errors of a project for programs: JSON, annotations of GitHub's workflows, SARIF."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stagewright.cli.main import group

WRONG = 'format = 1\n[project]\nname = "p"\n[stages.a]\nkind = "stage4"\nroot = "b%,:\\n"\nhostname = 5\n'
RIGHT = 'format = 1\n[project]\nname = "p"\n'


def check(folder: Path, *words: str, text: str = WRONG) -> tuple[int, str]:
    (folder / "stagewright.toml").write_text(text, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        found = CliRunner().invoke(group, ["--store", str(folder / "store"), "check", *words], standalone_mode=False)
    finally:
        os.chdir(before)
    assert not found.exception, found.output
    return int(found.return_value or 0), found.stdout


@pytest.mark.parametrize("words", [("--json",), ("--format", "json")])
def test_json_has_all_errors_with_their_places(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, output = check(tmp_path, *words)
    data = json.loads(output)
    assert code == 2
    assert data["format"] == 1
    assert not data["ok"]
    assert [(one["level"], one["reason"], one["place"]["line"]) for one in data["findings"]] == [
        ("error", "unknown-name", 6),
        ("error", "invalid-value", 7),
    ]
    assert all(one["message"] and one["hint"] and one["place"]["file"] for one in data["findings"])


def test_a_project_without_errors_is_ok(tmp_path: Path) -> None:
    code, output = check(tmp_path, "--json", text=RIGHT)
    assert (code, json.loads(output)) == (0, {"format": 1, "ok": True, "findings": []})
    assert check(tmp_path, "--format", "github", text=RIGHT) == (0, "")
    assert json.loads(check(tmp_path, "--format", "sarif", text=RIGHT)[1])["runs"][0]["results"] == []


def test_syntax_errors_and_missing_projects_are_findings_too(tmp_path: Path) -> None:
    code, output = check(tmp_path, "--json", text="x = \n")
    assert (code, json.loads(output)["findings"][0]["reason"]) == (2, "syntax")


def test_github_marks_lines_and_escapes_texts(tmp_path: Path) -> None:
    code, output = check(tmp_path, "--format", "github")
    first, second = output.splitlines()
    assert code == 2
    assert first.startswith("::error title=stagewright unknown-name,file=stagewright.toml,line=6,col=8::")
    assert "b%25,:" in first
    assert "%0Ahint: " in first
    assert second.startswith("::error title=stagewright invalid-value,file=stagewright.toml,line=7,col=12::hostname")


def required(run: dict[str, Any]) -> None:
    """Check what the schema of SARIF 2.1.0 requires of a run, and the formats of its values."""
    driver = run["tool"]["driver"]
    assert driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    assert run["columnKind"] in {"utf16CodeUnits", "unicodeCodePoints"}
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert ids[result["ruleIndex"]] == result["ruleId"]
        for location in result.get("locations", []):
            physical = location["physicalLocation"]
            assert " " not in physical["artifactLocation"]["uri"]
            assert physical["region"]["startLine"] >= 1
            assert physical["region"].get("startColumn", 1) >= 1


def test_sarif_has_what_its_schema_requires(tmp_path: Path) -> None:
    code, output = check(tmp_path, "--format", "sarif")
    data = json.loads(output)
    assert code == 2
    assert data["version"] == "2.1.0"
    (run,) = data["runs"]
    required(run)
    assert [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]] == [
        "stagewright.toml",
        "stagewright.toml",
    ]
    assert {result["ruleId"] for result in run["results"]} == {"unknown-name", "invalid-value"}


def test_paths_outside_of_the_current_folder_are_whole(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "stagewright.toml").write_text(WRONG, encoding="utf-8")
    words = ["-C", str(tmp_path / "a b"), "--store", str(tmp_path / "store"), "check", "--format", "sarif"]
    found = CliRunner().invoke(group, words, standalone_mode=False)
    (run,) = json.loads(found.stdout)["runs"]
    required(run)
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == f"file://{tmp_path}/a%20b/stagewright.toml"
