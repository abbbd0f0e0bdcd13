"""``licenses/`` of a release: the texts of the licences of its packages, and the copyright files of Debian's.

::

    licenses/<name>                 a text of ``licenses/`` in an ebuild repository
    licenses/debian/<package>       /usr/share/doc/<package>/copyright
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stagewright.confined import Tree
from stagewright.portage.dependency_text import parse, words_of
from stagewright.release.bill import Bill

FOLDER = "licenses"

DEBIAN = "debian"


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


def copy_copyright_files(bills: Iterable[Bill], folders: Iterable[Path], target: Path) -> list[str]:
    """Copy the copyright files of Debian's packages into a folder. Return the packages that have none.

    ``folders`` have the files by the names of packages. Different texts of one package are joined.
    """
    names = sorted({one.name for bill in bills for one in bill.components if one.kind == "deb"})
    trees = [Tree(folder, links=False) for folder in folders]
    missing = []
    for name in names:
        texts = dict.fromkeys(text for tree in trees if (text := _text(tree, name)) is not None)
        if texts:
            target.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(b"\n".join(texts))
        else:
            missing.append(name)
    return missing


def license_texts(names: Iterable[str], folder: Path) -> Mapping[str, str]:
    """Return the texts of licences in a folder that :func:`copy_license_texts` has filled, by name."""
    tree = Tree(folder, links=False)
    found = {name: _text(tree, name) for name in names if "/" not in name}
    return {name: text.decode(errors="replace") for name, text in found.items() if text is not None}


def _text(tree: Tree, name: str) -> bytes | None:
    try:
        return tree.read(name)
    except OSError:
        return None
