"""Every kind has an integration test of its name with real parts; parts of the engine have unit tests of their name."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from stagewright.kinds.registry import by_kind

FOLDER = Path(__file__).parents[1] / "integration" / "kinds"
NAMES = sorted({kind.partition(".")[0] for kind in by_kind()})
"""stage3-root.prepared is a part of stage3-root."""


def file_of(kind: str) -> Path:
    return FOLDER / f"test_{kind.replace('-', '_')}.py"


@pytest.mark.parametrize("kind", NAMES)
def test_a_kind_has_a_test_of_its_name(kind: str) -> None:
    module = ast.parse(file_of(kind).read_text(encoding="utf-8"))
    assert (ast.get_docstring(module) or "").startswith(f"{kind}: "), "the docstring says what the kind must show"
    marks = [ast.unparse(node.value) for node in module.body if isinstance(node, ast.Assign)]
    assert any("pytest.mark.real" in mark for mark in marks), "its tests build with real parts"
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert any(isinstance(part, ast.Assert) for test in tests for part in ast.walk(test))


def test_every_test_of_a_kind_belongs_to_a_kind() -> None:
    found = {path.name for path in FOLDER.glob("test_*.py")}
    others = {"test_other_programs.py", "test_disk_repart.py", "test_installer_machine.py"}  # results of several kinds
    assert found == {*(file_of(kind).name for kind in NAMES), *others}


@pytest.mark.parametrize("name", ["doctor", "fetching", "pins", "scheduler", "worker", "worker_process"])
def test_a_part_of_the_engine_has_unit_tests_of_its_name(name: str) -> None:
    importlib.import_module(f"stagewright.engine.{name}")
    module = ast.parse((Path(__file__).parent / f"test_engine_{name}.py").read_text(encoding="utf-8"))
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert len(tests) >= 3
    assert any(isinstance(part, ast.Assert) for test in tests for part in ast.walk(test))
