"""Owners of the files in a root, by the records of Portage (/var/db/pkg) and of dpkg (/var/lib/dpkg).

Records are read as they are; what they mean is for ``release.components``. Functions here run inside the root
(``chroot.inside``), so that links lead nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from stagewright.lazy_dataclass import dataclass
from stagewright.portage.installed import VDB, installed_packages, recorded_files
from stagewright.trees import LONGEST_PATH, leads_to_folder, walk_tree
from stagewright.untrusted import read_root_text, read_text

DPKG = "var/lib/dpkg"

_ENTRIES = (
    *("LICENSE", "SLOT", "repository", "USE", "RESTRICT", "PROPERTIES", "DESCRIPTION", "HOMEPAGE", "SIZE"),
    "BUILD_ID",
)
"""Entries of /var/db/pkg that are kept."""

_FIELDS = frozenset(
    ("Package", "Version", "Architecture", "Section", "Source", "Description", "Homepage", "Installed-Size")
)
"""Fields of dpkg's status that are kept, as their first lines."""

_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_LONGEST_TEXT = 1 << 16
_LONGEST_COPYRIGHT = 1 << 20
_DEEPEST = 200
_BYTECODE = re.compile(r"(?P<folder>.*)__pycache__/(?P<name>[^/]+?)\.[a-z]+-\d+(?:\.opt-[12])?\.pyc$")


@dataclass(frozen=True)
class PackageRecord:
    """The records of an installed package. Paths have no links in their folders: see :class:`Owners`.

    ``name`` is category/name-version, or the name of a package of Debian. ``entries`` are those of /var/db/pkg, or the
    fields of dpkg's status. ``copyright`` is the text of Debian's copyright file. Paths can have lone surrogates.
    """

    kind: Literal["ebuild", "deb"]
    name: str
    entries: Mapping[str, str] = field(default_factory=dict)
    copyright: str = ""
    paths: tuple[str, ...] = ()


@dataclass
class Owners:
    """Packages of a root, and the package of each recorded path as an index into ``packages``.

    Paths have no links in their folders: /bin/sh is /usr/bin/sh in a root where /bin is a link.
    """

    packages: Sequence[PackageRecord] = ()
    by_path: dict[str, int] = field(default_factory=dict)
    _folders: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, packages: Sequence[PackageRecord]) -> Owners:
        """Return the owners by records. Of several owners of a path, the last counts."""
        return cls(packages, {path: index for index, one in enumerate(packages) for path in one.paths})

    @classmethod
    def read(cls) -> Owners:
        """Return the owners of the files in the root that this thread is in."""
        reader = cls()
        found = []
        for record, paths in (*_ebuilds(), *_debs()):
            plain = dict.fromkeys(reader.plain(path) for path in paths if len(path) <= LONGEST_PATH)
            found.append(replace(record, paths=tuple(plain)))
        return cls.of(found)

    def plain(self, path: str) -> str:
        """Return an absolute path without links in its folders, by the links of the root that this thread is in."""
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder or "/").rstrip("/")
        return f"{self._folders[folder]}/{name}"

    def owner(self, plain: str) -> int | None:
        """Return the index of the package that a path without links belongs to.

        Compiled Python belongs to its source.
        """
        found = self.by_path.get(plain)
        if found is None and (compiled := _BYTECODE.fullmatch(plain)):
            found = self.by_path.get(f"{compiled['folder']}{compiled['name']}.py")
        return found

    def of_paths(self, paths: Iterable[str]) -> tuple[dict[int, int], list[str]]:
        """Return the number of paths of each package by index, and the paths without owner.

        No package has files with paths that the kernel cannot open as a whole.
        """
        counts: dict[int, int] = {}
        unowned = []
        for path in paths:
            found = self.owner(path) if len(path) <= LONGEST_PATH else None
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


def links_among(paths: Iterable[str]) -> set[str]:
    """Return those of the paths that are symbolic links."""
    return {path for path in paths if os.path.islink(path)}  # noqa: PTH114  it returns False for a path that is too long


def has_records() -> bool:
    """Return True if the root that this thread is in has records of Portage or of dpkg."""
    return any(True for _ in Path("/", VDB).glob("*/*/PF")) or os.path.lexists(f"/{DPKG}/status")


def _ebuilds() -> Iterator[tuple[PackageRecord, list[str]]]:
    root = Path("/")
    for package in installed_packages(root):
        folder = root / VDB / package.name
        entries = {name: text for name in _ENTRIES if (text := _text(folder / name))}
        recorded = recorded_files(root, [package.name])[package.name]
        paths = [path for path, content in recorded.items() if content]
        yield PackageRecord(kind="ebuild", name=package.name, entries=entries), paths


def _text(path: Path, limit: int = _LONGEST_TEXT) -> str:
    """Return the text of a record; "" if it cannot be read."""
    try:
        return read_text(path, errors="replace", limit=limit).strip()
    except OSError:
        return ""


def _debs() -> Iterator[tuple[PackageRecord, list[str]]]:
    """Yield the packages of dpkg that have files: also those that are not completely installed."""
    try:
        status = read_root_text(f"/{DPKG}/status", errors="replace")
    except FileNotFoundError:
        return
    for stanza in status.split("\n\n"):
        entries = dict(_FIELD.findall(stanza))
        state = entries.get("Status", "").rpartition(" ")[2]
        if (name := entries.get("Package")) and state not in ("not-installed", "config-files"):
            kept = {key: value for key, value in entries.items() if key in _FIELDS and value}
            text = _text(Path(f"/usr/share/doc/{name}/copyright"), _LONGEST_COPYRIGHT)
            record = PackageRecord(kind="deb", name=name, entries=kept, copyright=text)
            yield record, _deb_paths(name, entries.get("Architecture", ""))


def _deb_paths(name: str, arch: str) -> list[str]:
    for path in (f"/{DPKG}/info/{name}.list", f"/{DPKG}/info/{name}:{arch}.list"):
        try:
            lines = read_root_text(path, errors="surrogateescape").splitlines()
        except FileNotFoundError:
            continue
        folders = {line.rpartition("/")[0] for line in lines}
        return [line for line in lines if line.startswith("/") and line not in folders and line != "/."]
    return []
