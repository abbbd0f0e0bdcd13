"""Every kind has an integration test of its name, which builds it with real parts and looks at what comes out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from stagewright.kinds.registry import by_kind

FOLDER = Path(__file__).parents[1] / "integration" / "kinds"
NAMES = sorted({kind.partition(".")[0] for kind in by_kind()})  # stage3-root.prepared is a part of stage3-root


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
    assert {path.name for path in FOLDER.glob("test_*.py")} == {file_of(kind).name for kind in NAMES}
