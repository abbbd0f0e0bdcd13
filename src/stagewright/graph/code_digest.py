"""The digest of the code that builds a kind, so that a changed recipe rebuilds what it makes and nothing else.

It covers the module of the kind and all modules of Stagewright that this one imports, directly or not. The packages in
``NEUTRAL`` do not count: they arrange and show the work and have no influence on the result. Of a module the code
counts, not its comments and docstrings (``graph/code_text.py``). Data files, such as templates and scripts that run
inside roots, count whole: they become part of the result.

Of a kind from another package, the modules of that package count too. The packages that it depends on do not.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path

from stagewright.graph.code_text import code_text

PACKAGE = "stagewright"

NEUTRAL = frozenset({"cli", "dropin", "ui", "engine", "store", "graph", "project", "chroot", "errors", "events", "run"})
"""Modules and packages directly below ``stagewright`` that do not influence what a build yields."""


@functools.cache
def code_digest(module: str) -> str:
    """Return the digest of a module (dotted name) and of the modules that it imports, outside of ``NEUTRAL``."""
    total = hashlib.sha256()
    for name in sorted(closure_of(module)):
        total.update(f"{name}\0{_file_digest(name)}\n".encode())
    return total.hexdigest()


def closure_of(module: str) -> set[str]:
    """Return the modules whose code the digest of a module covers, the module included."""
    found: set[str] = set()
    waiting, own = [module], module.partition(".")[0]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imports(name, own))
            parent = name.rpartition(".")[0]  # for the data files there
            waiting.extend([parent] if _counts(parent, own) else [])
    return found


@functools.cache
def _imports(module: str, own: str) -> frozenset[str]:
    """Return the modules that a module imports and that count for a kind of the package ``own``."""
    tree = ast.parse(_source(module).read_bytes())
    names: set[str] = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.add(statement.module)
            names.update(f"{statement.module}.{alias.name}" for alias in statement.names)
    return frozenset(name for name in names if _counts(name, own) and _exists(name))


def _counts(name: str, own: str) -> bool:
    package, _, rest = name.partition(".")
    if package != PACKAGE:
        return package == own
    return bool(rest) and rest.partition(".")[0] not in NEUTRAL


@functools.cache
def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a name inside a module, not a module
        return False


@functools.cache
def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    return Path(spec.origin)


@functools.cache
def _file_digest(module: str) -> str:
    source = _source(module)
    total = hashlib.sha256(code_text(source.read_bytes()).encode(errors="surrogatepass"))
    if source.name == "__init__.py":
        for data in sorted(path for path in source.parent.glob("*/*") if _is_data(path)):
            total.update(f"{data.name}\0".encode() + data.read_bytes())
    return total.hexdigest()


def _is_data(path: Path) -> bool:
    """True for a file that is not a module. Scripts in folders without ``__init__.py`` run inside roots: data, too."""
    module = path.suffix == ".py" and (path.parent / "__init__.py").exists()
    return path.is_file() and not module and path.parent.name != "__pycache__"
