"""The part of Debian's archive that each package of a bootstrapped root comes from: main, contrib, non-free and so on.

The records of dpkg do not say it. Without it, a package of another vendor looks like one of Debian.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

FILE = "indexes"
"""Name of the file that the hook writes."""

_ARCHIVES = ("Debian", "Ubuntu")
"""Values of Origin in the signed Release files of these archives."""


def hook(folder: Path) -> str:
    """Return a hook for mmdebstrap that writes the packages of all indexes that apt used to a file of a folder."""
    return (
        'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; '
        "apt-get indextargets --format '$(ORIGIN)|$(COMPONENT)|$(FILENAME)' 'Created-By: Packages' | "
        "while IFS='|' read -r origin component file; do echo \"Index: $origin|$component\"; "
        '/usr/lib/apt/apt-helper cat-file "$file" | grep -E "^(Package|Version|Architecture):" || :; '
        f"done > {folder / FILE}"
    )


def areas_of(lines: Iterable[str], packages: Collection[str]) -> dict[str, str]:
    """Return the part of the archive by NAME:ARCH=VERSION, of packages (NAME=VERSION) in the output of the hook."""
    wanted = set(packages)
    found: dict[str, str] = {}
    for area, entry in _entries(lines):
        name, version = entry.get("Package", ""), entry.get("Version", "")
        if f"{name}={version}" in wanted:
            found.setdefault(f"{name}:{entry.get('Architecture', '')}={version}", area)
    return found


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the entries of the indexes of Debian's or Ubuntu's archive, each with the part of the archive."""
    area = ""
    entry: dict[str, str] = {}
    for line in lines:
        name, _, value = line.rstrip("\n").partition(": ")
        if name in ("Index", "Package") and entry:
            yield area, entry
            entry = {}
        if name == "Index":
            origin, _, component = value.partition("|")
            area = component.rpartition("/")[2] if origin in _ARCHIVES else ""
        elif area:
            entry[name] = value
    if entry:
        yield area, entry
