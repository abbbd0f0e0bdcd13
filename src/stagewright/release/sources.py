"""``sources/`` of a release: the source files of its packages, their ebuilds with patches, and patches of the project.

::

    sources/distfiles/<file>                            the files of SRC_URI
    sources/<repository>/<category>/<package>/          the ebuild's folder, with its patches
    sources/<repository>/eclass/                        the eclasses
    sources/patches/<number>/<category>/<package>/      the patches of confdirs (/etc/portage/patches)

Together they are what GPL-2 section 3 and GPL-3 section 6 ask for. A file that the store lacks is downloaded, and must
have the digests in the bill. So the content depends on the bill only. Sources of Debian's packages are not collected:
their names and versions are in the bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import escape
from hashlib import blake2b
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.fetch.download import download
from stagewright.portage.distfiles import PROJECTS
from stagewright.portage.ebuild_facts import SourceFile
from stagewright.portage.gpkg import DIGESTS
from stagewright.portage.manifests import matches
from stagewright.release.bill import Bill, Component

FOLDER = "sources"

PATCHES = "patches"
"""The folder of patches in a confdir (portage(5)), and in the sources."""

_LARGEST = 64 << 20
_LIVE = "live"


@dataclass(frozen=True)
class SourcePlaces:
    """Where sources come from.

    ``distfiles`` is the folder of the store, ``folder`` one of the project. ``mirrors`` are addresses as in
    GENTOO_MIRRORS (make.conf(5)). ``repositories`` are folders by name, ``trees`` identify their content.
    ``patches`` are folders of patches. Downloads of files whose name is taken in the store go to ``scratch``.
    """

    distfiles: Path
    scratch: Path
    repositories: Mapping[str, Path]
    trees: Mapping[str, str] = field(default_factory=dict)
    patches: Sequence[Path] = ()
    mirrors: Sequence[str] = ()
    folder: Path | None = None


def collect_sources(
    bills: Iterable[Bill], places: SourcePlaces, target: Path, accepted: Sequence[str] = ()
) -> list[str]:
    """Collect the sources of all packages in bills into a new folder.

    ``accepted`` are patterns for packages whose sources may be missing: ``category/name``, or ``deb:name`` for a
    package of Debian. Return what is missing of these, in words. Raises: SOURCES_MISSING for each other package.
    """
    (target / "distfiles").mkdir(parents=True)
    missing: dict[str, str] = {}
    components = {one.identity: one for bill in bills for one in bill.components}
    for _, component in sorted(components.items()):
        for what in _collect(component, places, target):
            missing[f"{component}: {what}"] = package_name(component)
    for number, folder in enumerate(places.patches, 1):
        _copy_folder(Tree(folder), ".", target / PATCHES / f"{number}")
    problems = [what for what, name in missing.items() if not any(fnmatchcase(name, one) for one in accepted)]
    if problems:
        hint = "name the package in `without_sources` if the release may lack its sources"
        raise ProblemsError([StagewrightError(Reason.SOURCES_MISSING, what, hint=hint) for what in problems])
    return sorted(missing)


def package_name(component: Component) -> str:
    """Return the name of a package for ``without_sources``."""
    return component.name if component.kind == "ebuild" else f"{component.kind}:{component.name}"


def _collect(component: Component, places: SourcePlaces, target: Path) -> Iterator[str]:
    """Collect the sources of a package. Yield what is missing, each as a predicate."""
    if component.kind != "ebuild":
        yield "sources of Debian's packages are not collected"
        return
    if not component.merged:
        yield "its builder is unknown, and so are its sources"
        return
    if _LIVE in component.properties:
        yield "its sources have no version: it was fetched when it was built (PROPERTIES=live)"
    for source in component.sources:
        if not (target / "distfiles" / source.name).exists() and (what := _distfile(source, places, target)):
            yield what
    tree, known = places.repositories.get(component.repository), places.trees.get(component.repository, "")
    if tree and component.tree and known and component.tree != known:
        yield f"it was built from another state of repository {component.repository}"
    elif not tree or not _recipes(tree, component, target / component.repository):
        yield f"its ebuild is not in repository {component.repository}"


def _distfile(source: SourceFile, places: SourcePlaces, target: Path) -> str:
    """Link or download a source file. Return why that is not possible, or ""."""
    name, record = source.name, {"size": str(source.size), **source.digests}
    if "/" in name or name.startswith(".") or source.size is None or not set(DIGESTS) & set(source.digests):
        return f"{name} has no digest in its repository"
    for file in _known(name, places):
        if file.is_file() and matches(file, [record]):
            Tree(file.parent).copy_out(name, target / "distfiles" / name, source.size)
            return ""

    def verify(path: Path) -> None:
        if not matches(path, [record]):
            raise StagewrightError(Reason.DIGEST_MISMATCH, f"{name}: differs from the digest in its repository")

    urls = [*_on_mirrors(name, places.mirrors), *(uri for uri in source.uris if re.match("https?://", uri))]
    if not urls:
        return f"{name} is not in the store, and has no address on the web"
    place = places.scratch if (places.distfiles / name).exists() else places.distfiles
    place.mkdir(parents=True, exist_ok=True)
    try:
        download(urls, place / name, size=source.size, verify=verify)
        Tree(place).copy_out(name, target / "distfiles" / name, source.size)
    except StagewrightError as error:
        return f"{name} is not in the store, and cannot be downloaded ({error})"
    return ""


def _known(name: str, places: SourcePlaces) -> Iterator[Path]:
    """Yield the paths where the store and the project may have a source file."""
    yield places.distfiles / name
    yield from sorted(places.distfiles.glob(f"{PROJECTS}/*/{escape(name)}"))
    if places.folder:
        yield places.folder / name
        yield places.folder / hashed_path(name)


def hashed_path(name: str) -> str:
    """Return the path of a file on mirrors (GLEP 75, ``filename-hash BLAKE2B 8``)."""
    return f"{blake2b(name.encode()).hexdigest()[:2]}/{name}"


def _on_mirrors(name: str, mirrors: Sequence[str]) -> Iterator[str]:
    """Yield the addresses of a file on mirrors: in the folder of its hash, and without one."""
    for mirror in (mirror.rstrip("/") for mirror in mirrors):
        yield from (f"{mirror}/distfiles/{hashed_path(name)}", f"{mirror}/distfiles/{name}")


def _recipes(repository: Path, component: Component, target: Path) -> bool:
    """Copy the folder of a package and the eclasses of its repository. Return False if it lacks the ebuild."""
    tree, name = Tree(repository), component.name
    if not tree.is_file(f"{name}/{name.partition('/')[2]}-{component.version}.ebuild"):
        return False
    for folder in (name, "eclass"):
        if tree.is_dir(folder) and not (target / folder).exists():
            _copy_folder(tree, folder, target / folder)
    return True


def _copy_folder(tree: Tree, name: str, target: Path) -> None:
    """Copy the files of a folder. A link to a file inside of the tree becomes a file: releases have no links."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in tree.names(f"{name}/{folder}"):
            path = f"{name}/{folder}{entry}"
            if tree.is_dir(path) and not tree.is_link(path):
                waiting.append(f"{folder}{entry}/")
            elif tree.is_file(path):
                (target / folder).mkdir(parents=True, exist_ok=True)
                tree.copy_out(path, target / folder / entry, _LARGEST)
