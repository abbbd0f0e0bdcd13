"""Owners of the files in a root, by the records of Portage (/var/db/pkg) and of dpkg (/var/lib/dpkg).

Functions here run inside the root (``chroot.inside``), so that links lead nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.portage.ebuild_facts import EbuildFacts
from stagewright.portage.installed import VDB, installed_packages, recorded_files
from stagewright.release.bill import Bill, Component, Image, joined
from stagewright.trees import LONGEST_PATH, leads_to_folder, walk_tree
from stagewright.untrusted import number, read_root_text, read_text

DPKG = "var/lib/dpkg"

AREAS = ("contrib", "non-free", "non-free-firmware", "universe", "multiverse", "restricted")
"""Parts of the archives of Debian and Ubuntu that ``Section`` names; without one, a package is in ``main``."""

_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_LICENSE = re.compile(r"^License:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_COPYRIGHT_FORMAT = "www.debian.org/doc/packaging-manuals/copyright-format"
_MOST_COPYRIGHTS = 60
_LONGEST_TEXT = 1 << 16
_DEEPEST = 200
_BYTECODE = re.compile(r"(?P<folder>.*)__pycache__/(?P<name>[^/]+?)\.[a-z]+-\d+(?:\.opt-[12])?\.pyc$")


@dataclass
class Owners:
    """Packages of a root, and the package of each recorded path as an index into ``packages``.

    Paths have no links in their folders: /bin/sh is /usr/bin/sh in a root where /bin is a link.
    """

    packages: list[Component] = field(default_factory=list)
    by_path: dict[str, int] = field(default_factory=dict)
    _folders: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Owners:
        """Return the owners of the files in the root that this thread is in."""
        found = cls()
        for component, paths in (*_ebuilds(), *_debs()):
            index = len(found.packages)
            found.packages.append(component.model_copy(update={"files": len(paths)}))
            found.by_path.update((found.plain(path), index) for path in paths if len(path) <= LONGEST_PATH)
        return found

    def plain(self, path: str) -> str:
        """Return an absolute path without links in its folders."""
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder or "/").rstrip("/")
        return f"{self._folders[folder]}/{name}"

    def owner(self, path: str) -> int | None:
        """Return the index of the package that a path belongs to. Compiled Python belongs to its source.

        No package has files with paths that the kernel cannot open as a whole.
        """
        if len(path) > LONGEST_PATH:
            return None
        plain = self.plain(path)
        found = self.by_path.get(plain)
        if found is None and (compiled := _BYTECODE.fullmatch(plain)):
            found = self.by_path.get(f"{compiled['folder']}{compiled['name']}.py")
        return found

    def of_paths(self, paths: Iterable[str]) -> tuple[dict[int, int], list[str]]:
        """Return the number of paths of each package by index, and the paths without owner."""
        counts: dict[int, int] = {}
        unowned = []
        for path in paths:
            found = self.owner(path)
            if found is None:
                unowned.append(path)
            else:
                counts[found] = counts.get(found, 0) + 1
        return counts, unowned


def files_of_root() -> list[str]:
    """Return the absolute paths of the files of the root that this thread is in, without the records of packages.

    Links to folders are left out. Of files in folders that are too deep, the first folders are returned.
    """
    records = (f"{VDB}/", f"{DPKG}/")
    found = []
    for step in walk_tree(Path("/")):
        is_deep = len(step.names) > _DEEPEST
        folder = "/".join(step.names[:_DEEPEST]) + "/..." if is_deep else step.path()
        if not f"{folder}/".startswith(records):
            names = (file.name for file in step.files if not leads_to_folder(file))
            found += [f"/{folder}/{name}" if folder else f"/{name}" for name in names]
    return found


def _ebuilds() -> Iterator[tuple[Component, list[str]]]:
    root = Path("/")
    packages = installed_packages(root)
    for package in packages:
        category, _, full = package.name.partition("/")
        name, version = split_pf(full)
        paths = [path for path, content in recorded_files(root, [package.name])[package.name].items() if content]
        component = Component(
            kind="ebuild",
            name=f"{category}/{name}",
            version=version,
            license=package.license,
            slot=package.slot,
            repository=package.repository,
            use=package.use,
            restrict=package.restrict,
            properties=package.properties,
            description=_text(root / VDB / package.name / "DESCRIPTION"),
            homepage=_text(root / VDB / package.name / "HOMEPAGE"),
            size=package.size,
        )
        yield component, paths


def _text(path: Path) -> str:
    """Return the text of a record that is for people only; "" if it cannot be read."""
    try:
        return read_text(path, errors="replace", limit=_LONGEST_TEXT).strip()
    except OSError:
        return ""


def split_pf(full: str) -> tuple[str, str]:
    """Return the name and the version with revision of ``name-1.2-r3`` (PMS 3.1.2 and 3.2)."""
    found = re.fullmatch(r"(.+?)-(\d[^-]*(?:-r\d+)?)", full)
    return (found[1], found[2]) if found else (full, "")


def _debs() -> Iterator[tuple[Component, list[str]]]:
    try:
        status = read_root_text(f"/{DPKG}/status", errors="replace")
    except FileNotFoundError:
        return
    for stanza in status.split("\n\n"):
        entry = dict(_FIELD.findall(stanza))
        if entry.get("Package") and entry.get("Status", "").split()[-1:] not in (["not-installed"], ["config-files"]):
            yield _deb(entry), _deb_paths(entry["Package"], entry.get("Architecture", ""))


def _deb(entry: Mapping[str, str]) -> Component:
    area, slash, _ = entry.get("Section", "").partition("/")
    area = area if slash and area in AREAS else "main"
    name, _, version = entry.get("Source", "").partition(" ")
    source = f"{name or entry['Package']} {version.strip('()') or entry.get('Version', '')}"
    return Component(
        kind="deb",
        name=entry["Package"],
        version=entry.get("Version", ""),
        arch=entry.get("Architecture", ""),
        license=f"debian-{area}",
        source=source,
        section=entry.get("Section", ""),
        copyrights=_copyrights(entry["Package"]),
        description=entry.get("Description", ""),
        homepage=entry.get("Homepage", ""),
        size=(number(entry.get("Installed-Size", "")) or 0) << 10,
    )


def _deb_paths(name: str, arch: str) -> list[str]:
    for path in (f"/{DPKG}/info/{name}.list", f"/{DPKG}/info/{name}:{arch}.list"):
        try:
            lines = read_root_text(path, errors="surrogateescape").splitlines()
        except FileNotFoundError:
            continue
        folders = {line.rpartition("/")[0] for line in lines}
        return [line for line in lines if line.startswith("/") and line not in folders and line != "/."]
    return []


def _copyrights(package: str) -> tuple[str, ...]:
    """Return the short names of the licences in a machine-readable copyright file; empty without one."""
    try:
        text = read_text(f"/usr/share/doc/{package}/copyright", errors="replace")
    except OSError:
        return ()
    if _COPYRIGHT_FORMAT not in text.partition("\n\n")[0]:
        return ()
    return tuple(dict.fromkeys(_LICENSE.findall(text)))[:_MOST_COPYRIGHTS]


def has_records() -> bool:
    """Return True if the root that this thread is in has records of Portage or of dpkg."""
    return any(True for _ in Path("/", VDB).glob("*/*/PF")) or os.path.lexists(f"/{DPKG}/status")


def bill_of_index(entries: Iterable[Mapping[str, str]], facts: Mapping[str, EbuildFacts]) -> Bill:
    """Return the bill of a folder of binary packages, by the entries of its index and facts about the packages."""
    return joined(Bill(components=(_packed(entry, facts.get(entry.get("CPV", ""))),)) for entry in entries)


def _packed(entry: Mapping[str, str], facts: EbuildFacts | None) -> Component:
    category, _, full = entry.get("CPV", "").partition("/")
    name, version = split_pf(full)
    return Component(
        kind="ebuild",
        name=f"{category}/{name}",
        version=version,
        images=(Image.PACKAGES,),
        why={Image.PACKAGES.value: "a binary package of the host"},
        license=entry.get("LICENSE", ""),
        slot=entry.get("SLOT", "0"),
        repository=entry.get("REPO", ""),
        use=tuple(entry.get("USE", "").split()),
        restrict=tuple(entry.get("RESTRICT", "").split()),
        properties=tuple(entry.get("PROPERTIES", "").split()),
        description=entry.get("DESC", ""),
        sources=facts.sources if facts else (),
        tree=facts.tree if facts else "",
        merged=facts is not None,
    )
