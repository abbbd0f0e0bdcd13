"""Imports point one way, and what only some modules may do is done there alone."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "stagewright"

LAYERS = (
    {"cli", "__main__"},
    {"dropin"},
    {"ui", "engine"},
    {"kinds"},
    {"kernel", "media", "netboot", "portage", "release", "repos", "seeds", "vm"},
    {"fetch", "root", "store"},
    {"catalyst", "graph", "project"},
    {"arch", "chroot", "errors", "events", "run"},
)
"""From the top to the base: a module imports from layers below, and from its own part."""

BESIDE = {
    ("__main__", "cli"),
    ("catalyst", "graph"),
    ("catalyst", "project"),
    ("project", "graph"),
    ("root", "graph"),
    ("store", "graph"),
    ("events", "errors"),
    ("kernel", "portage"),
    ("media", "kernel"),
    ("netboot", "kernel"),
    ("netboot", "media"),
    ("netboot", "release"),
    ("fetch", "store"),
    ("release", "portage"),
    ("repos", "seeds"),
    ("chroot", "errors"),
    ("chroot", "run"),
    ("run", "errors"),
    ("run", "events"),
}
"""Imports within a layer that are meant."""

MODULES = sorted(path for path in SOURCE.rglob("*.py") if "data" not in path.parts)


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def level(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def name_of(path: Path) -> str:
    words = ["stagewright", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports(path: Path) -> set[str]:
    """The modules of ours that a module imports, wherever in it."""
    found = set()
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names} | {statement.module}
    known = {name_of(module) for module in MODULES}
    return {name for name in found if name in known}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    mine = part(name_of(path))
    if not mine:
        return
    for other in {part(name) for name in imports(path)} - {mine, ""}:
        fine = level(other) > level(mine) or (mine, other) in BESIDE
        assert fine, f"{name_of(path)} imports {other}, which is not below {mine}"


def test_there_are_no_cycles() -> None:
    graph = {name_of(path): imports(path) - {name_of(path)} for path in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "run.py"], ids=name_of)
def test_run_alone_starts_processes(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {"subprocess", "multiprocessing"} & {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("subprocess", "multiprocessing")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert not node.attr.startswith(("exec", "spawn", "fork", "posix_spawn", "system", "popen")), node.attr


@pytest.mark.parametrize("path", [path for path in MODULES if part(name_of(path)) not in ("cli", "ui")], ids=name_of)
def test_the_core_does_not_print(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"


def test_a_kind_has_a_module_of_its_own() -> None:
    from stagewright.kinds.registry import by_kind

    homes = [model.__module__ for model in by_kind().values()]
    assert len(homes) == len(set(homes))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_text_files_are_read_and_written_as_utf_8(path: Path) -> None:
    """ruff's PLW1514 sees this only where it knows that something is a path."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in ("read_text", "write_text"):
            assert "encoding" in {keyword.arg for keyword in node.keywords}, f"line {node.lineno}"
