"""Binary packages, kept by what they were built from.

Portage takes a binary package for an ebuild when version, USE and CHOST fit; it does not notice an ebuild that was
edited without a new revision, other compiler flags, or another compiler. So the shared cache keeps packages by a
fingerprint of these, and each build gets a PKGDIR of its own with links to those that fit::

    cache/binpkgs/<category>/<name>/<fingerprint>/<name>-<version>-<build id>.gpkg.tar

What a build adds is taken into the cache as soon as Portage has finished it, so a killed build loses one package at the
most. Nothing is ever changed in place: builds that run at the same time cannot disturb each other.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.graph.file_digest import tree_digest
from stagewright.portage.installed import read_entry
from stagewright.portage.repositories import Repository, profile_chain
from stagewright.portage.settings import PortageSettings

COMPARED_BY_PORTAGE = frozenset(
    {
        *("package.use", "package.accept_keywords", "package.keywords", "package.license", "package.accept_restrict"),
        *("package.mask", "package.unmask", "package.properties", "sets", "repos.conf", "binrepos.conf"),
    }
)
"""Entries of /etc/portage whose effect Portage sees for itself when it chooses a binary package."""

FETCHING = frozenset({"FETCHCOMMAND", "RESUMECOMMAND", "GENTOO_MIRRORS", "MAKEOPTS", "PORTAGE_NICENESS", "USE"})
"""Variables that leave no trace in a package, or that Portage compares."""

OF_PROFILES = frozenset({"make.defaults", "profile.bashrc", "package.bashrc", "package.env", "env"})
"""Entries of a profile with flags for compilers, and code that every build runs (portage(5))."""

_FOR_A_KERNEL = re.compile(r"\blinux-mod(?:-r\d+)?\b")
"""Eclasses of packages with kernel modules, in an ebuild's text."""


@dataclass(frozen=True)
class Provenance:
    """What packages are built from, besides their ebuilds: repositories, flags, and the key of the compiler's stage."""

    repos: Sequence[Repository]
    settings: PortageSettings
    confdirs: Sequence[Path]
    toolchain: str

    @functools.cached_property
    def common(self) -> str:
        """The digest of what all packages of a build share."""
        make_conf = {name: value for name, value in self.settings.make_conf.items() if name not in FETCHING}
        parts = {
            "toolchain": self.toolchain,
            "profile": [_profile(folder) for folder in self._profiles],
            "make_conf": {**self.settings.flags, **make_conf},
            "confdirs": [dict(_entries(confdir)) for confdir in self.confdirs],
            "eclasses": [tree_digest(repo.path / "eclass") for repo in self.repos if (repo.path / "eclass").is_dir()],
            "overrides": [repo.eclass_overrides for repo in self.repos],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def _profiles(self) -> Sequence[Path]:
        return profile_chain(self.settings.profile, self.repos) if self.settings.profile else ()

    def is_cacheable(self, package: str) -> bool:
        """Whether a package can be kept at all: kernel modules fit one kernel, which no fingerprint knows."""
        ebuilds = (ebuild for repo in self.repos for ebuild in (repo.path / package).glob("*.ebuild"))
        return not any(_FOR_A_KERNEL.search(ebuild.read_text(errors="replace", encoding="utf-8")) for ebuild in ebuilds)

    def fingerprint(self, package: str) -> str:
        """The fingerprint of a package, given as category/name."""
        total = hashlib.sha256(self.common.encode())
        for repo in self.repos:
            if (repo.path / package).is_dir():
                total.update(f"{repo.name} {tree_digest(repo.path / package)}\n".encode())
        return total.hexdigest()[:32]


def _profile(folder: Path) -> dict[str, str]:
    """What a folder of a profile says of building, beyond what Portage compares, by the digests of its files."""
    return {path.name: tree_digest(path) for path in sorted(folder.iterdir()) if path.name in OF_PROFILES}


def _entries(confdir: Path) -> Iterator[tuple[str, str]]:
    for entry in sorted(confdir.iterdir()):
        if entry.name not in COMPARED_BY_PORTAGE:
            yield entry.name, tree_digest(entry)


@dataclass(frozen=True)
class BinaryPackages:
    """The cache that all nodes share, and the PKGDIR of one build."""

    cache: Path
    view: Path
    provenance: Provenance

    def link_cached(self) -> None:
        """Link every package of the cache that fits into the PKGDIR."""
        for folder in self.cache.glob("*/*"):
            package = f"{folder.parent.name}/{folder.name}"
            if not self.provenance.is_cacheable(package):
                continue
            fitting = folder / self.provenance.fingerprint(package)
            if fitting.is_dir():
                os.utime(fitting)  # in use: collection goes by this time
            for source in fitting.glob("*.gpkg.tar"):
                link_to(source, self.view / package / source.name)

    def cache_new(self) -> None:
        """Take into the cache what the build has finished since the last call."""
        for source in self.view.glob("*/*/*.gpkg.tar"):
            info = source.stat()
            if info.st_nlink == 1 and info.st_size:  # Portage reserves a name by an empty file
                package = f"{source.parent.parent.name}/{source.parent.name}"
                if not self.provenance.is_cacheable(package):
                    continue
                link_to(source, self.cache / package / self.provenance.fingerprint(package) / source.name)


def link_packages(packages: Iterable[Path], target: Path) -> Path:
    """Link binary packages into a PKGDIR, each at its category and name; returns that."""
    for source in packages:
        link_to(source, target.joinpath(*source.parts[-3:]))
    return target


def link_to(source: Path, target: Path) -> None:
    """Make a hard link, and the folders above it; a file that is there already stays, since another was faster."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(source, target)


def packages_in(pkgdir: Path, tree: Path) -> Iterator[Path]:
    """Those binary packages of a PKGDIR that the packages recorded in a tree come from."""
    for source in pkgdir.glob("*/*/*.gpkg.tar"):
        version, _, number = source.name.removesuffix(".gpkg.tar").rpartition("-")
        if read_entry(tree, f"{source.parent.parent.name}/{version}", "BUILD_ID") == number:
            yield source


def toolchain_of(stack: Sequence[str], facts: Mapping[str, Any]) -> str:
    """The key of the stage whose compiler a root has: said by its layer, else its lowest layer."""
    return str(facts.get("toolchain") or stack[-1])
