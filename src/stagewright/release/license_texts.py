"""``licenses/`` of a release: the texts of the licences of its packages, and the copyright files of Debian's.

::

    licenses/<name>                 a text of ``licenses/`` in an ebuild repository
    licenses/debian/<package>       /usr/share/doc/<package>/copyright
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stagewright.confined import Tree
from stagewright.portage.dependency_text import parse, words_of
from stagewright.release.bill import Bill

FOLDER = "licenses"


def license_names(bills: Iterable[Bill]) -> list[str]:
    """Return the names of all licences that the packages of Portage in bills have, also as alternatives."""
    names: set[str] = set()
    for component in (component for bill in bills for component in bill.components if component.kind == "ebuild"):
        try:
            names.update(words_of(parse(component.license)))
        except ValueError:
            continue
    return sorted(names)


def copy_license_texts(names: Iterable[str], repositories: Iterable[Path], target: Path) -> list[str]:
    """Copy the texts of licences into a new folder. Return the names of those that no repository has.

    If several repositories have a text, that of the first counts.
    """
    trees = [Tree(path) for path in repositories]
    target.mkdir(parents=True)
    missing = []
    for name in names:
        if "/" in name or not any(_copied(tree, name, target / name) for tree in trees):
            missing.append(name)
    return missing


def _copied(tree: Tree, name: str, target: Path) -> bool:
    try:
        target.write_bytes(tree.read(f"{FOLDER}/{name}"))
    except OSError:
        return False
    return True
