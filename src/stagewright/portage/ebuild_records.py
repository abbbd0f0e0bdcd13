"""Records about merged packages that only the ebuild repository has, as it has them: metadata and lines of Manifests.

Installed packages do not record them. The metadata is that of the ebuild (``metadata/md5-cache`` or Portage's own
cache, PMS 14). Layers keep these texts (kinds/common/records.py); what they mean is for ``portage.ebuild_facts``.

Code of packages ran as root in the same build. So these records are as true as the recipes are; the digests of sources
come from the repository, which no build can change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from stagewright.confined import Tree
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.installed import Package
from stagewright.portage.metadata import CACHE
from stagewright.portage.repositories import Repository

_MIRRORS = "profiles/thirdpartymirrors"
_ENTRIES = ("DESCRIPTION", "HOMEPAGE", "SRC_URI")
_LONGEST = 1 << 16


class EbuildRecord(BaseModel):
    """The record of one merged package (category/name-version).

    ``tree`` identifies the content of the repository. ``metadata`` has entries of the ebuild's metadata, ``dist`` the
    Manifest's lines about its source files, ``mirrors`` the lines of thirdpartymirrors that its SRC_URI needs.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    package: str
    repository: str
    tree: str = ""
    metadata: Mapping[str, str] = {}
    dist: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class EbuildMetadata:
    """The metadata of the ebuilds of one build.

    ``cache`` is the folder of Portage's own cache, with the metadata of ebuilds of which the repository has none.
    """

    repositories: Sequence[Repository]
    cache: Path
    merged_trees: Mapping[str, Path] = field(default_factory=dict)  # repositories with generated metadata, by name

    def records(self, packages: Iterable[Package], trees: Mapping[str, str]) -> Iterator[EbuildRecord]:
        """Yield the records of packages whose repository has their ebuild. ``trees`` are digests by repository."""
        known = {repo.name: repo for repo in self.repositories}
        mirrors = [line for repo in self.repositories for line in _lines(repo.path, _MIRRORS)]
        for package in packages:
            repo = known.get(package.repository)
            entry = self._entry(repo, package.name) if repo else None
            if repo and entry is not None:
                uris = entry.get("SRC_URI", "")
                words = set(uris.replace("/", " ").split())
                yield EbuildRecord(
                    package=package.name,
                    repository=repo.name,
                    tree=trees.get(repo.name, ""),
                    metadata={name: entry[name][:_LONGEST] for name in _ENTRIES if entry.get(name)},
                    dist=tuple(line for line in _dist(repo, package.name) if line.split()[1] in words),
                    mirrors=tuple(line for line in mirrors if f"mirror://{line.split()[0]}/" in uris),
                )

    def _entry(self, repo: Repository, package: str) -> dict[str, str] | None:
        """Return the metadata of an ebuild, or None. An entry of another version of the ebuild does not count."""
        category, _, full = package.partition("/")
        digest = _md5(repo, package)
        for tree in filter(None, (repo.path, self.merged_trees.get(repo.name))):
            found = _read(Tree(tree), f"{CACHE}/{category}/{full}")
            if found is not None and found.get("_md5_") == digest:
                return found
        return _read(Tree(self.cache, links=False), f"{repo.location.lstrip('/')}/{category}/{full}")


def _names(package: str) -> Iterator[str]:
    """Yield the possible names (category/name) of a package with its version: PMS permits ``-`` in both."""
    category, _, full = package.partition("/")
    words = full.split("-")
    yield from (f"{category}/{'-'.join(words[:count])}" for count in range(1, len(words)))


def _md5(repo: Repository, package: str) -> str:
    """Return the digest of an ebuild, as entries of md5-cache have it; "" if the ebuild is missing."""
    full = package.partition("/")[2]
    for name in _names(package):
        try:
            data = Tree(repo.path).read(f"{name}/{full}.ebuild")
        except OSError:
            continue
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ""


def _dist(repo: Repository, package: str) -> list[str]:
    """Return the lines of a package's Manifest about source files."""
    lines = (line for name in _names(package) for line in _lines(repo.path, f"{name}/Manifest"))
    return [line for line in lines if line.startswith("DIST ") and len(line.split()) > 1]


def _lines(folder: Path, path: str) -> list[str]:
    """Return the lines of a file that are neither empty nor a comment; none if it cannot be read."""
    try:
        text = Tree(folder).text(path, errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.partition("#")[0].split()]


def _read(tree: Tree, path: str) -> dict[str, str] | None:
    try:
        text = tree.text(path, errors="replace")
    except OSError:
        return None
    return {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}
