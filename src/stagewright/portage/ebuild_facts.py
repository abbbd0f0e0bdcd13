"""Facts about merged packages that only the ebuild repository has: sources with addresses and digests, home page.

Installed packages do not record them. They come from the metadata of the ebuild (``metadata/md5-cache`` or Portage's
own cache, PMS 14) and from the Manifest. SRC_URI is evaluated by the USE flags that the package was built with.

Code of packages ran as root in the same build. So these facts are as true as the recipes are; the digests of sources
come from the repository, which no build can change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from stagewright.confined import Tree
from stagewright.portage.dependency_text import parse, reduced, words_of
from stagewright.portage.installed import Package
from stagewright.portage.manifests import Manifests
from stagewright.portage.metadata import CACHE
from stagewright.portage.repositories import Repository
from stagewright.untrusted import number

_MIRRORS = "profiles/thirdpartymirrors"
_MOST_URIS = 20
_LONGEST = 4000


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class SourceFile(_Facts):
    """A source file: its addresses, its size in bytes, and its digests by the names in Manifests."""

    name: str
    uris: tuple[str, ...] = ()
    size: int | None = None
    digests: Mapping[str, str] = {}


class EbuildFacts(_Facts):
    """Facts about one merged package (category/name-version). ``tree`` identifies the content of the repository."""

    package: str
    repository: str
    tree: str = ""
    description: str = ""
    homepage: str = ""
    sources: tuple[SourceFile, ...] = ()


@dataclass(frozen=True)
class EbuildMetadata:
    """The metadata of the ebuilds of one build.

    ``cache`` is the folder of Portage's own cache, with the metadata of ebuilds of which the repository has none.
    """

    repositories: Sequence[Repository]
    cache: Path
    merged_trees: Mapping[str, Path] = field(default_factory=dict)  # repositories with generated metadata, by name

    def facts(self, packages: Iterable[Package], trees: Mapping[str, str]) -> Iterator[EbuildFacts]:
        """Yield the facts about packages whose repository has their ebuild. ``trees`` are digests by repository."""
        known = {repo.name: repo for repo in self.repositories}
        mirrors = third_party_mirrors(repo.path for repo in self.repositories)
        for package in packages:
            repo = known.get(package.repository)
            entry = self._entry(repo, package.name) if repo else None
            if repo and entry is not None:
                records = Manifests([repo.path], [package.name]).records()
                yield EbuildFacts(
                    package=package.name,
                    repository=repo.name,
                    tree=trees.get(repo.name, ""),
                    description=entry.get("DESCRIPTION", "")[:_LONGEST],
                    homepage=entry.get("HOMEPAGE", "")[:_LONGEST],
                    sources=tuple(_sources(entry.get("SRC_URI", ""), package.use, records, mirrors)),
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


def _md5(repo: Repository, package: str) -> str:
    """Return the digest of an ebuild, as entries of md5-cache have it; "" if the ebuild is missing."""
    category, _, full = package.partition("/")
    words = full.split("-")
    for count in range(1, len(words)):
        try:
            data = Tree(repo.path).read(f"{category}/{'-'.join(words[:count])}/{full}.ebuild")
        except OSError:
            continue
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ""


def _read(tree: Tree, path: str) -> dict[str, str] | None:
    try:
        text = tree.text(path, errors="replace")
    except OSError:
        return None
    return {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}


def _sources(
    src_uri: str,
    use: Collection[str],
    records: Mapping[str, Sequence[Mapping[str, str]]],
    mirrors: Mapping[str, Sequence[str]],
) -> Iterator[SourceFile]:
    """Yield the files of a SRC_URI (PMS 8.2 and 7.3.2) with these USE flags."""
    try:
        words = list(words_of(reduced(parse(src_uri), frozenset(use))))
    except ValueError:
        return
    found: dict[str, list[str]] = {}
    for place, word in enumerate(words):
        if word == "->" or (place and words[place - 1] == "->"):
            continue
        is_renamed = place + 2 < len(words) and words[place + 1] == "->"
        uri = word.removeprefix("fetch+").removeprefix("mirror+")
        uris = found.setdefault(words[place + 2] if is_renamed else uri.rpartition("/")[2], [])
        uris.extend(_addresses(uri, mirrors))
    for name, uris in found.items():
        record = next(iter(records.get(name, ())), {})
        digests = {kind: value.lower() for kind, value in record.items() if kind != "size"}
        places = tuple(dict.fromkeys(uris))[:_MOST_URIS]
        yield SourceFile(name=name, uris=places, size=number(record.get("size", "")), digests=digests)


def _addresses(uri: str, mirrors: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the addresses of a file: of all mirrors for ``mirror://NAME/path``; none for a plain file name."""
    if uri.startswith("mirror://"):
        name, _, path = uri.removeprefix("mirror://").partition("/")
        yield from (f"{mirror.rstrip('/')}/{path}" for mirror in mirrors.get(name, ()))
    elif ":" in uri:
        yield uri


def third_party_mirrors(repositories: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Return the addresses of the mirrors in ``profiles/thirdpartymirrors`` of repositories, by name."""
    found: dict[str, list[str]] = {}
    for repository in repositories:
        try:
            text = Tree(repository).text(_MIRRORS, errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words:
                found.setdefault(words[0], []).extend(words[1:])
    return {name: tuple(dict.fromkeys(addresses)) for name, addresses in found.items()}
