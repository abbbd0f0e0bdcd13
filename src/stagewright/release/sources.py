"""``sources/`` of a release: the source files of its packages, and their ebuilds with patches.

::

    sources/distfiles/<file>                            the files of SRC_URI
    sources/<repository>/<category>/<package>/          the ebuild's folder, with its patches
    sources/<repository>/eclass/                        the eclasses

Together they are what GPL-2 section 3 and GPL-3 section 6 ask for. Sources of Debian's packages are not collected:
their names and versions are in the bill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stagewright.confined import Tree
from stagewright.portage.manifests import matches
from stagewright.release.bill import Bill, Component
from stagewright.store.links import link

FOLDER = "sources"

_LARGEST = 64 << 20


def collect_sources(
    bills: Iterable[Bill], distfiles: Path, repositories: Mapping[str, Path], target: Path
) -> list[str]:
    """Collect the sources of all packages of Portage in bills into a new folder.

    ``distfiles`` is the folder of the store, ``repositories`` are folders by name. Return what is missing, in words.
    """
    components = [one for bill in bills for one in bill.components if one.kind == "ebuild"]
    (target / "distfiles").mkdir(parents=True)
    missing = {
        f"{component}: its builder is unknown, and so are its sources"
        for component in components
        if not component.merged
    }
    for component in (one for one in components if one.merged):
        missing.update(_distfiles(component, distfiles, target / "distfiles"))
        tree = repositories.get(component.repository)
        if not tree or not _recipes(tree, component, target / component.repository):
            missing.add(f"{component}: its ebuild is not in repository {component.repository}")
    return sorted(missing)


def _distfiles(component: Component, distfiles: Path, target: Path) -> Iterable[str]:
    """Link the source files of a package that match their digests. Yield those that are missing."""
    for source in component.sources:
        file = distfiles / source.name
        record = {"size": str(source.size), **source.digests}
        if (target / source.name).exists():
            continue
        if "/" not in source.name and file.is_file() and matches(file, [record]):
            link(file, target / source.name)
        else:
            yield f"{component}: {source.name} is not in the store"


def _recipes(repository: Path, component: Component, target: Path) -> bool:
    """Copy the folder of a package and the eclasses of its repository. Return False if it lacks the ebuild."""
    tree, name = Tree(repository), component.name
    if not tree.is_file(f"{name}/{name.partition('/')[2]}-{component.version}.ebuild"):
        return False
    for folder in (name, "eclass"):
        if tree.is_dir(folder) and not (target / folder).exists():
            (target / folder).parent.mkdir(parents=True, exist_ok=True)
            tree.copy_tree_out(folder, target / folder, lambda _: False, _LARGEST)
    return True
