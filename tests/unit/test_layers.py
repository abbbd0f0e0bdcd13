"""Imports point down the layers; only some modules start processes and print."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "stagewright"

LAYERS = {
    "UI": {"api", "cli", "dropin", "ui", "__main__"},
    "engine": {"engine"},
    "kinds": {"kinds"},
    "domain": {
        "kernel",
        "media",
        "netboot",
        "portage",
        "publish",
        "release",
        "remote",
        "repos",
        "reproduce",
        "seeds",
        "testing",
        "vm",
    },
    "infrastructure": {"fetch", "root", "store"},
    "model": {"catalyst", "graph", "project"},
    "core": {
        *(
            "arch",
            "attributes",
            "chroot",
            "confined",
            "errors",
            "events",
            "id_ranges",
            "ids",
            "interpreter",
            "locks",
            "permissions",
            "run",
            "temporary",
            "terminal",
            "trees",
            "units",
        ),
        "untrusted",
    },
    "language": {"lazy_dataclass", "lazy_pattern"},
}
"""From the top to the bottom: a package imports from layers below, and from itself."""

SIDEWAYS = {
    ("__main__", "cli"),
    ("cli", "dropin"),
    ("cli", "ui"),
    ("dropin", "ui"),
    ("catalyst", "graph"),
    ("catalyst", "project"),
    ("project", "graph"),
    ("kernel", "portage"),
    ("media", "kernel"),
    ("netboot", "kernel"),
    ("netboot", "media"),
    ("netboot", "release"),
    ("fetch", "store"),
    ("publish", "release"),
    ("remote", "publish"),
    ("remote", "release"),
    ("release", "portage"),
    ("repos", "seeds"),
    ("testing", "vm"),
    ("reproduce", "media"),
    ("reproduce", "release"),
    ("confined", "chroot"),
    ("permissions", "run"),
    ("confined", "untrusted"),
    ("id_ranges", "errors"),
    ("id_ranges", "run"),
    ("ids", "errors"),
    ("ids", "id_ranges"),
    ("ids", "interpreter"),
    ("ids", "run"),
    ("trees", "errors"),
    ("trees", "ids"),
    ("trees", "interpreter"),
    ("trees", "run"),
    ("run", "errors"),
    ("temporary", "locks"),
    ("temporary", "trees"),
    ("terminal", "run"),
    ("untrusted", "errors"),
}
"""Intended imports within a layer."""

MODULES = sorted(path for path in SOURCE.rglob("*.py") if "data" not in path.parts)


WIDTH = 84
BORDER = "┌" + "─" * (WIDTH - 2) + "┐"
BOTTOM = "└" + "─" * (WIDTH - 2) + "┘"

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
BEGIN, END = "<!-- layers: written by python tests/unit/test_layers.py -->\n```\n", "```\n<!-- end of the layers -->\n"


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def level(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS.values()) if name in names)


def name_of(path: Path) -> str:
    words = ["stagewright", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all parts of the syntax of a module."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


_KNOWN = {name_of(module) for module in MODULES}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Return the modules of Stagewright that a module imports, at its top or in a function."""
    found = set()
    for statement in nodes(path):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names} | {statement.module}
    return frozenset(found & _KNOWN)


def sideways() -> set[tuple[str, str]]:
    """Return the imports between packages of one layer, as they are in the code."""
    pairs = {(part(name_of(path)), part(name)) for path in MODULES for name in imports(path)}
    return {(one, other) for one, other in pairs if one and other and one != other and level(one) == level(other)}


def picture() -> str:
    """Return the picture of the layers for docs/architecture.md, from the table above and the real imports."""
    pairs, lines = sideways(), []
    for number, (layer, names) in enumerate(LAYERS.items()):
        rows = ["  ".join(sorted(names - {"__main__"}))]
        for name in sorted(names - {"__main__"}):
            if others := sorted(other for one, other in pairs if one == name):
                rows.append(f"{name} → {', '.join(others)}")
        lines.append(BORDER)
        lines += [f"│ {layer if not row else '':<15}{text:<{WIDTH - 19}} │" for row, text in enumerate(rows)]
        lines.append("└" + "┬".center(WIDTH - 2, "─") + "┘" if number < len(LAYERS) - 1 else BOTTOM)
        lines += ["▼".center(WIDTH).rstrip()] if number < len(LAYERS) - 1 else []
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.slow
def test_imports_point_down() -> None:
    wrong = []
    for path in MODULES:
        mine = part(name_of(path))
        for other in {part(name) for name in imports(path)} - {mine, ""} if mine else ():
            if level(other) <= level(mine) and (mine, other) not in SIDEWAYS:
                wrong.append(f"{name_of(path)} imports {other}, which is not below {mine}")
    assert not wrong


@pytest.mark.slow
def test_intended_imports_within_a_layer_are_in_the_code() -> None:
    assert sorted(SIDEWAYS - sideways()) == []


def test_every_package_is_in_one_layer() -> None:
    known = [name for names in LAYERS.values() for name in names]
    assert len(known) == len(set(known))
    assert set(known) == {part(name_of(path)) for path in MODULES} - {""}


@pytest.mark.slow
def test_the_picture_of_the_layers_is_current() -> None:
    drawn = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert drawn == picture(), "run: python tests/unit/test_layers.py"


def test_there_are_no_cycles() -> None:
    graph = {name_of(path): imports(path) - {name_of(path)} for path in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


def found(paths: Iterable[Path], wrong: Callable[[ast.AST], bool]) -> list[str]:
    """Return the places of the nodes to which a function says True."""
    return [f"{name_of(path)}:{node.lineno}" for path in paths for node in nodes(path) if wrong(node)]


def starts_processes(node: ast.AST) -> bool:
    match node:
        case ast.Import(names):
            return bool({"subprocess", "multiprocessing"} & {alias.name for alias in names})
        case ast.ImportFrom(module):
            return module in ("subprocess", "multiprocessing")
        case ast.Attribute(ast.Name("os"), attribute):
            return attribute.startswith(("exec", "spawn", "fork", "posix_spawn", "system", "popen"))
    return False


def test_run_alone_starts_processes() -> None:
    assert found((path for path in MODULES if path.name != "run.py"), starts_processes) == []


def prints(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def test_the_core_does_not_print() -> None:
    core = (path for path in MODULES if part(name_of(path)) not in ("cli", "ui"))
    assert found(core, prints) == []


@pytest.mark.slow
def test_trees_of_others_are_reached_in_one_way() -> None:
    from tools import file_access

    problems = file_access.problems()
    assert problems == [], "python -m tools.file_access explains the rule:\n" + "\n".join(problems)


def test_each_kind_has_a_separate_module() -> None:
    from stagewright.kinds.registry import by_kind

    homes = [model.__module__ for model in by_kind().values()]
    assert len(homes) == len(set(homes))


def has_no_encoding(node: ast.AST) -> bool:
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute) and called.attr in ("read_text", "write_text"):
        return "encoding" not in {keyword.arg for keyword in node.keywords}
    return False


def test_text_files_are_read_and_written_as_utf_8() -> None:
    """ruff's PLW1514 sees this only where it knows that something is a path."""
    assert found(MODULES, has_no_encoding) == []


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("import subprocess", starts_processes),
        ("from multiprocessing import Pool", starts_processes),
        ("os.execv(x)", starts_processes),
        ("print(1)", prints),
        ("path.read_text()", has_no_encoding),
    ],
)
def test_what_is_wrong_is_found(code: str, wrong: Callable[[ast.AST], bool]) -> None:
    assert any(map(wrong, ast.walk(ast.parse(code))))
    assert not any(map(wrong, ast.walk(ast.parse("import os; os.stat(x); path.read_text(encoding='utf-8')"))))


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + picture() + END + rest.partition(END)[2], encoding="utf-8")


def asks_for_names(node: ast.AST) -> bool:
    match node:
        case ast.Import(names):
            return bool({"pwd", "grp", "spwd"} & {alias.name for alias in names})
        case ast.ImportFrom(module):
            return module in ("pwd", "grp", "spwd")
    return False


def test_no_module_asks_the_c_library_for_names() -> None:
    """Inside a root, the C library would read and keep the names of that root, see decision 33."""
    assert found(MODULES, asks_for_names) == []


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + picture() + END + rest.partition(END)[2], encoding="utf-8")
