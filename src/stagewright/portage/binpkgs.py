"""The cache of binary packages, in which a fingerprint stands for everything that a package was built from.

Portage uses a binary package if version, USE and CHOST match. It does not notice an ebuild that was edited without a
new revision, other compiler flags, or another compiler. The fingerprint covers these. A build gets the packages whose
fingerprints match (``portage/pkgdir.py``)::

    cache/binpkgs/<category>/<name>/<fingerprint>/<origin>/<name>-<version>-<build id>.gpkg.tar

Code of a project runs as root in its builds, and could forge a package of any fingerprint. So a package is bound to its
origin. It is kept under two origins: the project, and the inputs of the build (root, repositories, files of the
project, binary package hosts). Another project gets it only if all inputs are the same: then that project itself runs
all the code that could have forged the package.

A new package enters the cache as soon as Portage has finished it, so a killed build loses at most one package. Files
in the cache never change, so concurrent builds cannot disturb each other.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from stagewright.chroot import inside
from stagewright.graph.file_digest import REPOSITORY_BITS, digest_of, tree_digest
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.gpkg import SUFFIX
from stagewright.portage.installed import read_entries
from stagewright.portage.pkgdir import Pkgdir
from stagewright.portage.repositories import Repository, profile_chain
from stagewright.portage.settings import PortageSettings
from stagewright.project.fields import package_of
from stagewright.root.lent import link_to
from stagewright.untrusted import read_text

COMPARED_BY_PORTAGE = frozenset(
    {
        *("package.use", "package.accept_keywords", "package.keywords", "package.license", "package.accept_restrict"),
        *("package.mask", "package.unmask", "package.properties", "sets", "repos.conf", "binrepos.conf"),
    }
)
"""Entries of /etc/portage that Portage itself compares when it chooses a binary package."""

UNRELATED_VARIABLES = frozenset(
    {"FETCHCOMMAND", "RESUMECOMMAND", "GENTOO_MIRRORS", "MAKEOPTS", "PORTAGE_NICENESS", "USE"}
)
"""Variables that do not change a package, or that Portage compares."""

PROFILE_ENTRIES = frozenset({"make.defaults", "profile.bashrc", "package.bashrc", "package.env", "env"})
"""Entries of a profile that hold compiler flags, or code that every build runs (portage(5))."""

_VERSION = 2
"""Version of what Stagewright itself does to packages. 2: no time in them is that of their build."""

_KERNEL_ECLASS = re.compile(r"\blinux-mod(?:-r\d+)?\b")
"""Eclasses of packages with kernel modules, in the text of an ebuild."""


@dataclass(frozen=True)
class Provenance:
    """The inputs of all packages of a build: repositories, flags, and the key of the compiler's stage."""

    repos: Sequence[Repository]
    settings: PortageSettings
    confdirs: Sequence[Path]
    toolchain: str
    online: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The commits of live packages, by atom."""

    @functools.cached_property
    def common(self) -> str:
        """The digest of all inputs that the packages of a build share."""
        make_conf = {name: value for name, value in self.settings.make_conf.items() if name not in UNRELATED_VARIABLES}
        parts = {
            "version": _VERSION,
            "toolchain": self.toolchain,
            "profile": [_profile(folder) for folder in self._profiles],
            "make_conf": {**self.settings.flags, **make_conf},
            "confdirs": [dict(_entries(confdir)) for confdir in self.confdirs],
            "eclasses": [_digest(repo.path / "eclass") for repo in self.repos if (repo.path / "eclass").is_dir()],
            "overrides": [repo.eclass_overrides for repo in self.repos],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def _profiles(self) -> Sequence[Path]:
        return profile_chain(self.settings.profile, self.repos) if self.settings.profile else ()

    def is_cacheable(self, package: str) -> bool:
        """True if a package may enter the cache. Kernel modules may not: the fingerprint does not cover the kernel."""
        ebuilds = (ebuild for repo in self.repos for ebuild in (repo.path / package).glob("*.ebuild"))
        return not any(_KERNEL_ECLASS.search(read_text(ebuild, errors="replace")) for ebuild in ebuilds)

    def fingerprint(self, package: str) -> str:
        """Return the fingerprint of a package, given as category/name."""
        total = hashlib.sha256(self.common.encode())
        for repo in self.repos:
            if (repo.path / package).is_dir():
                total.update(f"{repo.name} {_digest(repo.path / package)}\n".encode())
        commits = [found for atom, found in sorted(self.online.items()) if package_of(atom) == package]
        if commits:
            total.update(json.dumps(commits, sort_keys=True).encode())
        return total.hexdigest()[:32]

    def cached_as(self, package: str) -> str | None:
        """Return the fingerprint under which the cache holds a package, or None if it may not enter the cache.

        Each package is read once for this object: emerge runs several times in a build, and the cache is large.
        """
        if package not in self._fingerprints:
            self._fingerprints[package] = self.fingerprint(package) if self.is_cacheable(package) else None
        return self._fingerprints[package]

    @functools.cached_property
    def _fingerprints(self) -> dict[str, str | None]:
        return {}


def digests_of_made(pkgdir: Pkgdir, packages: Iterable[Path]) -> dict[str, str]:
    """Return the MD5 digests of those packages that the build has made, by category/name-version."""
    made = (path for path in packages if path.is_relative_to(pkgdir.kept))
    return {
        f"{path.parent.parent.name}/{path.name.removesuffix(SUFFIX).rpartition('-')[0]}": digest_of(path, "md5")
        for path in made
    }


def _profile(folder: Path) -> dict[str, str]:
    """Return the digests of the files of a profile folder that affect packages and that Portage does not compare."""
    return {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.name in PROFILE_ENTRIES}


def _digest(path: Path) -> str:
    """Return the digest of a part of a repository."""
    return tree_digest(path, bits=REPOSITORY_BITS)


def _entries(confdir: Path) -> Iterator[tuple[str, str]]:
    for entry in sorted(confdir.iterdir()):
        if entry.name not in COMPARED_BY_PORTAGE:
            yield entry.name, tree_digest(entry)


@dataclass(frozen=True)
class BinaryPackages:
    """The cache of the store (shared by all builds), for one build. ``origins`` are the names of its origins."""

    cache: Path
    pkgdir: Pkgdir
    provenance: Provenance
    origins: Sequence[str]

    def lend_cached(self) -> None:
        """Lend every package of the cache whose fingerprint and origin match to the build."""
        found: dict[str, Path] = {}
        for folder in self.cache.glob("*/*"):
            package = f"{folder.parent.name}/{folder.name}"
            fingerprint = self.provenance.cached_as(package)
            if not fingerprint or not (folder / fingerprint).is_dir():
                continue
            os.utime(folder / fingerprint)  # garbage collection reads this time as the last use
            for origin in self.origins:
                for source in (folder / fingerprint / origin).glob(f"*{SUFFIX}"):
                    found.setdefault(f"{package}/{source.name}", source)
        self.pkgdir.lend([(source, path) for path, source in found.items()])

    def cache_new(self) -> None:
        """Add the packages that the build has finished since the last call to the cache."""
        for source in self.pkgdir.take():
            package = f"{source.parent.parent.name}/{source.parent.name}"
            if fingerprint := self.provenance.cached_as(package):
                for origin in self.origins:
                    link_to(source, self.cache / package / fingerprint / origin / source.name)


def packages_with_paths(packages: Iterable[Path]) -> list[tuple[Path, str]]:
    """Return packages, each with its path in a folder of packages: category, name and file name."""
    return [(source, "/".join(source.parts[-3:])) for source in packages]


def link_packages(packages: Iterable[Path], target: Path) -> Path:
    """Link binary packages into a folder, each below its category and name. Return the folder."""
    for source, path in packages_with_paths(packages):
        link_to(source, target / path)
    return target


def packages_in(pkgdir: Pkgdir, tree: Path) -> Iterator[Path]:
    """Yield the binary packages of a build from which the packages recorded in a tree were installed."""
    numbered = {}
    for source in pkgdir.packages():
        version, _, number = source.name.removesuffix(SUFFIX).rpartition("-")
        numbered[source] = (f"{source.parent.parent.name}/{version}", number)
    names = sorted({name for name, _ in numbered.values()})
    recorded = inside(tree, read_entries, Path("/"), names, "BUILD_ID") if names else {}
    yield from (source for source, (name, number) in numbered.items() if recorded[name] == number)
