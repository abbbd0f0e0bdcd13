"""``sources/`` of a release: the source files of its packages, and their ebuilds with patches.

::

    sources/distfiles/<file>                            the files of SRC_URI
    sources/<repository>/<category>/<package>/          the ebuild's folder, with its patches
    sources/<repository>/eclass/                        the eclasses
    sources/patches/<confdir>/                          /etc/portage/patches of the project's stages

Together they are what GPL-2 section 3 and GPL-3 section 6 ask for. Sources of Debian's packages are not collected:
their names and versions are in the bill.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.portage.ebuild_facts import SourceFile
from stagewright.portage.manifests import matches
from stagewright.release.bill import Bill, Component
from stagewright.store.links import link

FOLDER = "sources"

PATCHES = "patches"

_LARGEST = 64 << 20

Fetch = Callable[[SourceFile], Path | None]
"""Downloads a source file that the store does not have. Returns None if no address has it."""


@dataclass(frozen=True)
class SourcePlaces:
    """Places of sources.

    ``distfiles`` is the folder of the store, ``repositories`` are folders by name, ``trees`` the digests of their
    content. ``patches`` are folders of the project, by the name of the configuration folder.
    """

    distfiles: Path
    repositories: Mapping[str, Path]
    trees: Mapping[str, str]
    patches: Mapping[str, Path]
    fetch: Fetch


def collect_sources(bills: Iterable[Bill], places: SourcePlaces, target: Path, elsewhere: Sequence[str] = ()) -> None:
    """Collect the sources of all packages in bills into a new folder.

    ``elsewhere`` are patterns of packages whose sources need not be there: of category/name, or of ``debian/name``.
    Raises: MISSING_FILE for each package of which something else is missing.
    """
    components = {one.identity: one for bill in bills for one in bill.components}
    (target / "distfiles").mkdir(parents=True)
    for name, folder in places.patches.items():
        Tree(folder).copy_tree_out(".", target / PATCHES / name, lambda _: False, _LARGEST)

    def wanted(name: str) -> bool:
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in elsewhere)

    problems = []
    for one in (one for one in components.values() if one.kind == "ebuild"):
        missing = list(_collected(one, places, target))
        if missing and wanted(one.name):
            problems.append(_missing(f"{one}: {'; '.join(missing)}", one.name))
    debs = sorted({one.name for one in components.values() if one.kind == "deb" and wanted(f"debian/{one.name}")})
    if debs:
        problems.append(_missing(f"{len(debs)} packages of Debian, whose sources are not collected", "debian/*", debs))
    if problems:
        raise ProblemsError(problems)


def _missing(what: str, pattern: str, names: Sequence[str] = ()) -> StagewrightError:
    hint = f'if users get these sources elsewhere, write in the release: sources_elsewhere = ["{pattern}"]'
    return StagewrightError(Reason.MISSING_FILE, f"sources: {what}", detail=", ".join(names), hint=hint)


def _collected(component: Component, places: SourcePlaces, target: Path) -> Iterator[str]:
    """Collect the sources of a package of Portage. Yield what is missing, in words."""
    if not component.merged:
        yield "its builder is unknown, and so are its sources"
        return
    if "live" in component.properties:
        yield "a live ebuild, which has no source files"
    yield from _distfiles(component, places, target / "distfiles")
    name = component.repository
    known = places.trees.get(name) == component.tree or not component.tree
    if name not in places.repositories or not known:
        yield f"its ebuild is from another state of repository {name} than the project has"
    elif not _recipes(places.repositories[name], component, target / name):
        yield f"its ebuild is not in repository {name}"


def _distfiles(component: Component, places: SourcePlaces, target: Path) -> Iterator[str]:
    """Link the source files of a package that match their digests. Yield those that are missing."""
    for source in component.sources:
        if "/" in source.name:
            yield f"{source.name} is not the name of a file"
        elif not (target / source.name).exists():
            file = _file(source, places)
            if file is None:
                yield f"{source.name} is neither in the store nor at its addresses"
            else:
                link(file, target / source.name)


def _file(source: SourceFile, places: SourcePlaces) -> Path | None:
    file = places.distfiles / source.name
    if file.is_file() and matches_record(source, file):
        return file
    found = places.fetch(source) if source.digests else None
    return found if found and matches_record(source, found) else None


def matches_record(source: SourceFile, file: Path) -> bool:
    """Return True if a file has the size and the digests of a source file."""
    return matches(file, [{"size": str(source.size), **source.digests}])


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
