"""The digest of the code that builds a kind, so that a changed recipe rebuilds what it makes and nothing else.

It covers the module of the kind and all modules that this one imports, directly or not, of Stagewright and of the
package that the kind itself belongs to. Other packages that it imports do not count. The parts of Stagewright in
``NEUTRAL`` do not count either: they arrange and show the work and have no influence on the result. Of a module,
comments and docstrings do not count (``graph/code_text.py``). Data files, such as templates and scripts that run
inside roots, count whole: they become part of the result.

Modules are read through :mod:`importlib.resources`, so a package may be a folder or a zip file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from stagewright.graph.code_text import code_text
from stagewright.lazy_dataclass import dataclass

PACKAGE = "stagewright"

NEUTRAL = frozenset(
    {
        *("cli", "dropin", "ui", "engine", "store", "graph", "project"),
        *("chroot", "errors", "events", "lazy_dataclass", "lazy_pattern", "run"),
    }
)
"""Modules and packages directly below ``stagewright`` that do not influence what a build yields."""

Recall = Callable[[Path, os.stat_result, str, Callable[[], str]], str]
"""Returns a fact about a file, by its name: a stored one, or what the function returns (``store/digest_cache.py``)."""


def find_always(path: Path, info: os.stat_result, fact: str, find: Callable[[], str]) -> str:
    """Return what the function returns: the ``Recall`` that stores nothing."""
    return find()


@dataclass(frozen=True)
class Module:
    """The digest of a module's code, and the modules that it imports and whose code counts too."""

    digest: str
    imports: frozenset[str]


def code_digest(module: str, recall: Recall = find_always) -> str:
    """Return the digest of a module (dotted name) and of the modules that it imports, outside of ``NEUTRAL``.

    It is recalled as a whole while no file of Stagewright and of the package of the module has changed. After a change,
    what is known of each unchanged module is recalled.
    """
    states = [_state(top) for top in sorted({PACKAGE, module.partition(".")[0]})]
    known = [state for state in states if state]
    if len(known) < len(states):
        return _find(module, recall)
    path, info = max((state.newest for state in known), key=lambda newest: _changed(newest[1]))
    fact = " ".join([module, _method(), *(state.digest for state in known)])
    return recall(path, info, f"code of {fact}", partial(_find, module, recall))


def _find(module: str, recall: Recall) -> str:
    total = hashlib.sha256()
    for name in sorted(closure_of(module, recall)):
        total.update(f"{name}\0{_module(name, recall).digest}\0{_data_digest(name)}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True)
class _State:
    """A digest of names, sizes and times of the files of a package, and the file or folder that was changed last."""

    digest: str
    newest: tuple[Path, os.stat_result]


@functools.cache
def _state(top: str) -> _State | None:
    """Return the state of a package, or of a module that is not in a package.

    None if it is in a zip file, or changes while it is looked at.
    """
    folder, file = _place(top)
    place = folder or file
    if not isinstance(place, Path):
        return None
    try:
        found = sorted(
            _below(str(place), set()) if folder else [(str(place), place.stat())], key=lambda entry: entry[0]
        )
    except OSError:
        return None
    lines = [f"{path}\0{info.st_ino}.{info.st_size}.{info.st_mtime_ns}.{info.st_ctime_ns}" for path, info in found]
    path, info = max(found, key=lambda entry: _changed(entry[1]))
    text = "\n".join(lines)
    return _State(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(), (Path(path), info))


def _below(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and state of a folder and of all below it that can be code or data. ``seen``: folders so far."""
    own = os.stat(folder)  # noqa: PTH116  ten times as fast as pathlib
    if (own.st_dev, own.st_ino) in seen:  # a link leads there
        return
    seen.add((own.st_dev, own.st_ino))
    yield folder, own
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                info = entry.stat()
            except OSError:  # a link that leads nowhere, as editors leave them
                info = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                yield entry.path, info
            elif entry.name != "__pycache__":
                yield from _below(entry.path, seen)


def _changed(info: os.stat_result) -> float:
    return max(info.st_mtime, info.st_ctime)


def closure_of(module: str, recall: Recall = find_always) -> set[str]:
    """Return the modules whose code the digest of a module covers, the module included."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        found |= waiting
        waiting = {other for name in waiting for other in _module(name, recall).imports} - found
    return found


def _counts(name: str, module: str) -> bool:
    """Return True if an imported name is part of Stagewright, outside of ``NEUTRAL``, or of the module's package."""
    package, _, rest = name.partition(".")
    if package == PACKAGE:
        return bool(rest) and rest.partition(".")[0] not in NEUTRAL
    return package == module.partition(".")[0]


_MODULES: dict[str, Module] = {}


def _module(name: str, recall: Recall) -> Module:
    """Return a module by its name."""
    if name not in _MODULES:
        source = _source(name)
        assert source, name
        find = partial(read_module, name)
        text = recall(source, source.stat(), f"code {_method()}", find) if isinstance(source, Path) else find()
        digest, imports = json.loads(text)
        package = name if source.name == "__init__.py" else name.rpartition(".")[0]
        names = {importlib.util.resolve_name(other, package) for other in imports}
        names.add(name.rpartition(".")[0])  # the package has the data files
        _MODULES[name] = Module(digest, frozenset(other for other in names if _counts(other, name) and _source(other)))
    return _MODULES[name]


@functools.cache
def read_module(name: str) -> str:
    """Return the digest of a module's code and the names that it imports, as JSON.

    Python has imported the module, so a process reads it once.
    """
    source = _source(name)
    assert source, name
    return json.dumps(_read(source.read_bytes()))


@functools.cache
def _method() -> str:
    """Return a name for the way in which modules are read, so that facts found in another way do not count."""
    folder = files("stagewright.graph")
    texts = [(folder / name).read_bytes() for name in ("code_digest.py", "code_text.py")]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def _read(source: bytes) -> tuple[str, list[str]]:
    """Return the digest of a module's code, and the names that it imports: modules, or names inside modules.

    Relative names begin with dots.
    """
    names: set[str] = set()
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            module = "." * statement.level + (statement.module or "")
            dot = "." if statement.module else ""
            names.add(module)
            names.update(f"{module}{dot}{alias.name}" for alias in statement.names)
    return hashlib.sha256(code_text(source).encode(errors="surrogatepass")).hexdigest(), sorted(names)


@functools.cache
def _source(module: str) -> Traversable | None:
    """Return the file of a module; None if the name is not a module, but one inside of a module."""
    top, _, rest = module.partition(".")
    folder, file = _place(top)
    if folder is None:
        return None if rest else file
    if isinstance(folder, Path):
        return _source_below(str(folder), rest)
    *parents, last = rest.split(".") if rest else [""]
    for name in parents:
        folder = folder / name
    candidates = [folder / last / "__init__.py", folder / f"{last}.py"] if last else [folder / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


@functools.cache
def _place(top: str) -> tuple[Traversable | None, Path | None]:
    """Return the folder of a package, and the file of a module that is not in a package."""
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.submodule_search_locations:
        return files(top), None
    return None, Path(spec.origin) if spec and spec.origin else None


def _source_below(folder: str, module: str) -> Path | None:
    """Return the file of a module below the folder of its package, by its name in this package.

    Each folder is listed once: a plan asks for a thousand names.
    """
    *parents, last = module.split(".") if module else [""]
    parent = "/".join([folder, *parents])
    if not last or (last in _names(parent) and "__init__.py" in _names(f"{parent}/{last}")):
        return Path(parent, last, "__init__.py")
    return Path(parent, f"{last}.py") if f"{last}.py" in _names(parent) else None


@functools.cache
def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208  only names
    except OSError:  # not a folder
        return frozenset()


@functools.cache
def _data_digest(module: str) -> str:
    """Return the digest of the data files of a package: those in its folders, unless they are modules."""
    source = _source(module)
    if source is None or source.name != "__init__.py":
        return ""
    package = files(module)
    total = hashlib.sha256()
    for folder in sorted(_folders(package), key=lambda entry: entry.name):
        is_package = (folder / "__init__.py").is_file()
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if file.is_file() and not (is_package and file.name.endswith(".py")):
                total.update(f"{folder.name}/{file.name}\0".encode() + file.read_bytes())
    return total.hexdigest()


def _folders(package: Traversable) -> list[Traversable]:
    return [entry for entry in package.iterdir() if entry.is_dir() and entry.name != "__pycache__"]
