"""The Python interface as another program uses it: the example of its page, run and type-checked, and its table."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stagewright.api
from stagewright.api import Session

PAGE = (Path(__file__).parents[2] / "docs/python-api.md").read_text(encoding="utf-8")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The example of the page, in a folder outside of the repository."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "program.py"
    file.write_text(example, encoding="utf-8")
    return file


def run(program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STAGEWRIGHT_STORE": str(folder.parent / "store"), "HOME": str(folder.parent)}
    words = [sys.executable, str(program)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def project(packed_seed: Path) -> Path:
    return packed_seed


@pytest.mark.real
def test_the_example_builds_a_project(program: Path, project: Path) -> None:
    done = run(program, project)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["seed:base will be built", "pack will be built"]
    assert re.fullmatch(r"pack: built in \d+ s", lines[-2])
    assert lines[-1].startswith(f"pack {project}/out/")
    again = run(program, project)
    assert again.stdout.splitlines() == [lines[-1]]


@pytest.mark.slow
def test_the_example_reports_errors(program: Path, project: Path) -> None:
    (project / "seed.tar").unlink()
    done = run(program, project)
    assert done.returncode == 2
    assert "seed.tar" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_method_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE)
    methods = [name for name, _ in inspect.getmembers(Session, inspect.isfunction) if not name.startswith("_")]
    assert sorted(rows) == sorted(methods)


def test_every_event_that_can_be_imported_is_in_the_table() -> None:
    table = PAGE.partition("## Events")[2]
    names = set(re.findall(r"`(\w+)`", table))
    events = {name for name in stagewright.api.__all__ if issubclass_of_event(name)}
    assert events - {"Event"} <= names


def issubclass_of_event(name: str) -> bool:
    value = getattr(stagewright.api, name)
    return inspect.isclass(value) and issubclass(value, stagewright.api.Event)
