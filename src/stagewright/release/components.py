"""Entries of a bill of materials, from the records of packages: which licence holds, and where the sources are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stagewright.portage.ebuild_facts import source_files
from stagewright.portage.ebuild_records import EbuildRecord
from stagewright.release.bill import Bill, Component, Image, joined
from stagewright.release.owners import PackageRecord
from stagewright.untrusted import number

UNKNOWN = "unknown"
"""The part of the archive of a package of Debian of which no index of the archive is known."""

_RESTRICTED = ("non-free", "non-free-firmware", "restricted", "multiverse")
"""Parts of the archives of Debian and Ubuntu that are not free software. A package can say itself that it is there."""

_LICENSE = re.compile(r"^License:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_COPYRIGHT_FORMAT = "www.debian.org/doc/packaging-manuals/copyright-format"
_MOST_COPYRIGHTS = 60
_LONGEST = 4000


def split_pf(full: str) -> tuple[str, str]:
    """Return the name and the version with revision of ``name-1.2-r3`` (PMS 3.1.2 and 3.2)."""
    found = re.fullmatch(r"(.+?)-(\d[^-]*(?:-r\d+)?)", full)
    return (found[1], found[2]) if found else (full, "")


def deb_id(entries: Mapping[str, str]) -> str:
    """Return the name of a package of Debian with its architecture and version, as records of seeds have it."""
    return f"{entries.get('Package', '')}:{entries.get('Architecture', '')}={entries.get('Version', '')}"


def component_of(
    record: PackageRecord, ebuilds: Mapping[str, EbuildRecord], areas: Mapping[str, str], image: Image, why: str
) -> Component:
    """Return the entry of a package in an image.

    ``ebuilds`` are records by package, ``areas`` parts of Debian's archive by :func:`deb_id`.
    """
    if record.kind == "ebuild":
        return _ebuild(record.name, record.entries, ebuilds.get(record.name), image, why, len(record.paths))
    return _deb(record, areas.get(deb_id(record.entries)), image, why)


def _ebuild(
    package: str, entries: Mapping[str, str], record: EbuildRecord | None, image: Image, why: str, files: int = 0
) -> Component:
    """Return the entry of a package of Portage: ``entries`` have the names of /var/db/pkg."""
    category, _, full = package.partition("/")
    name, version = split_pf(full)
    use = tuple(entries.get("USE", "").split())
    metadata = record.metadata if record else {}
    return Component(
        kind="ebuild",
        name=f"{category}/{name}",
        version=version,
        images=(image,),
        why={image.value: why},
        license=entries.get("LICENSE", ""),
        slot=entries.get("SLOT", ""),
        repository=entries.get("repository", ""),
        tree=record.tree if record else "",
        use=use,
        restrict=tuple(entries.get("RESTRICT", "").split()),
        properties=tuple(entries.get("PROPERTIES", "").split()),
        description=(entries.get("DESCRIPTION") or metadata.get("DESCRIPTION", ""))[:_LONGEST],
        homepage=(entries.get("HOMEPAGE") or metadata.get("HOMEPAGE", ""))[:_LONGEST],
        sources=source_files(record, use) if record else (),
        merged=record is not None,
        files=files,
        size=number(entries.get("SIZE", "")) or 0,
    )


def _deb(record: PackageRecord, area: str | None, image: Image, why: str) -> Component:
    entries = record.entries
    named = entries.get("Section", "").rpartition("/")[0]
    name, _, version = entries.get("Source", "").partition(" ")
    return Component(
        kind="deb",
        name=record.name,
        version=entries.get("Version", ""),
        images=(image,),
        why={image.value: why},
        arch=entries.get("Architecture", ""),
        license=f"debian-{area or (named if named in _RESTRICTED else UNKNOWN)}",
        source=f"{name or record.name} {version.strip('()') or entries.get('Version', '')}",
        section=entries.get("Section", ""),
        copyrights=_copyrights(record.copyright),
        description=entries.get("Description", ""),
        homepage=entries.get("Homepage", ""),
        files=len(record.paths),
        size=(number(entries.get("Installed-Size", "")) or 0) << 10,
    )


def _copyrights(text: str) -> tuple[str, ...]:
    """Return the short names of the licences in a machine-readable copyright file; empty for others."""
    if _COPYRIGHT_FORMAT not in text.partition("\n\n")[0]:
        return ()
    return tuple(dict.fromkeys(_LICENSE.findall(text)))[:_MOST_COPYRIGHTS]


def bill_of_index(entries: Iterable[Mapping[str, str]], ebuilds: Mapping[str, EbuildRecord]) -> Bill:
    """Return the bill of a folder of binary packages, by the entries of its index and records of their ebuilds."""
    why = "a binary package of the host"
    return joined(Bill(components=(_packed(entry, ebuilds, why),)) for entry in entries)


def _packed(entry: Mapping[str, str], ebuilds: Mapping[str, EbuildRecord], why: str) -> Component:
    package = entry.get("CPV", "")
    named = {"repository": entry.get("REPO", ""), "DESCRIPTION": entry.get("DESC", ""), "SLOT": entry.get("SLOT", "0")}
    return _ebuild(package, {**entry, "SIZE": "", **named}, ebuilds.get(package), Image.PACKAGES, why)
