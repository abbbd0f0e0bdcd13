"""The package and the node of files that differ, by the records of the roots that an artifact was made from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.confined import Tree

_VDB, _DPKG = "var/db/pkg", "var/lib/dpkg/info"
_ENTRY = re.compile(r"(?:obj (?P<file>.+) [0-9a-f]{32} -?\d+|sym (?P<link>.+?) -> .+)")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
_BYTECODE = re.compile(r"(?P<folder>.*/)__pycache__/(?P<name>[^/]+?)\.[a-z]+-\d+[^/]*\.pyc")


@dataclass(frozen=True)
class FileOwner:
    """The owner of a file: its package, as category/name-version or a package of Debian, and the node that made it.

    Each is empty if unknown.
    """

    package: str = ""
    node: str = ""


def file_owners(paths: Iterable[str], results: Sequence[tuple[str, Path]]) -> dict[str, FileOwner]:
    """Return the owners of absolute paths. ``results`` are ids of nodes with their trees, in the order of the build.

    Packages are those that any of the roots records: the root of an image can lack records that a root below it has.
    """
    names = {path: _other_names(path) for path in paths}
    wanted = {name for others in names.values() for name in others}
    packages: dict[str, str] = {}
    nodes: dict[str, str] = {}
    for node, folder in results:
        tree = Tree(folder, links=False)
        with contextlib.suppress(OSError):  # an ordinary user cannot read all files of a root
            packages.update(_recorded(tree, wanted))
        for path, others in names.items():
            if _has(tree, others):
                nodes[path] = node
    return {path: FileOwner(_first(packages, others), nodes.get(path, "")) for path, others in names.items()}


def _other_names(path: str) -> tuple[str, ...]:
    """Return the names that a record can have for a path: with and without a merged /usr; the source of bytecode."""
    found = [path]
    first = path.split("/")[1] if path.startswith("/") else ""
    if path.startswith("/usr/") and path.split("/")[2] in _MERGED:
        found.append(path.removeprefix("/usr"))
    elif first in _MERGED:
        found.append(f"/usr{path}")
    sources = [f"{match['folder']}{match['name']}.py" for name in found if (match := _BYTECODE.fullmatch(name))]
    return (*found, *sources)


def _first(known: Mapping[str, str], names: Iterable[str]) -> str:
    return next((known[name] for name in names if name in known), "")


def _has(tree: Tree, names: Iterable[str]) -> bool:
    for name in names:
        with contextlib.suppress(OSError):
            if tree.stat(name.lstrip("/"), follow=False) is not None:
                return True
    return False


def _recorded(tree: Tree, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the wanted paths that packages of Portage and of Debian have, with the package."""
    for category in tree.names(_VDB):
        for package in tree.names(f"{_VDB}/{category}"):
            for line in _lines(tree, f"{_VDB}/{category}/{package}/CONTENTS"):
                found = _ENTRY.fullmatch(line)
                path = found and (found["file"] or found["link"])
                if path in wanted:
                    yield str(path), f"{category}/{package}"
    for name in tree.names(_DPKG):
        if name.endswith(".list"):
            package = name.removesuffix(".list").partition(":")[0]
            yield from ((line, package) for line in _lines(tree, f"{_DPKG}/{name}") if line in wanted)


def _lines(tree: Tree, name: str) -> list[str]:
    try:
        return tree.text(name, errors="surrogateescape").splitlines()
    except OSError:
        return []
