"""``Packages``, the index of a folder of binary packages: stanzas of ``NAME: value`` lines; the first is a header."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import digest_of
from stagewright.portage.gpkg import SUFFIX

_PATH = re.compile(r"^PATH: (.+)$", re.MULTILINE)
_CPV = re.compile(r"^CPV: (.+)$", re.MULTILINE)
_BUILT = re.compile(r"^BUILD_TIME: ([0-9]{1,12})$", re.MULTILINE)
_TIMESTAMP = re.compile(r"^TIMESTAMP: .*$", re.MULTILINE)
_MTIME = re.compile(r"^MTIME: .*$", re.MULTILINE)
_COUNT = re.compile(r"^PACKAGES: \d+$", re.MULTILINE)


def merge_indexes(old: str, new: str, is_there: Callable[[str], bool]) -> str:
    """Return the merged index of two folders: the new header and all packages; new entries replace old ones.

    ``is_there`` returns True if a path below the folder holds a file. Packages whose file is missing are left out.
    """
    head, rows = _stanzas(new)
    known = {**_by_path(_stanzas(old)[1]), **_by_path(rows)}
    kept = sorted((_sort_key(row), row) for path, row in known.items() if is_there(path))
    head = _COUNT.sub(f"PACKAGES: {len(kept)}", head)
    return date_index("".join(f"{stanza}\n\n" for stanza in [head, *(row for _, row in kept)]))


def date_index(text: str) -> str:
    """Return an index whose times follow from its packages, so that the same packages give the same index.

    Portage reads an index again only if its TIMESTAMP, or the time that a server has for the file, has grown. So this
    is the newest BUILD_TIME plus the number of packages: it grows with each package that is added, and with the time
    stamp of the project. The MTIME of a package is its BUILD_TIME.
    """
    head, rows = _stanzas(text)
    built = [int(found[1]) if (found := _BUILT.search(row)) else 0 for row in rows]
    head = _TIMESTAMP.sub(f"TIMESTAMP: {max(built, default=0) + len(rows)}", head)
    dated = [_MTIME.sub(f"MTIME: {time}", row) for time, row in zip(built, rows, strict=True)]
    return "".join(f"{stanza}\n\n" for stanza in [head, *dated])


def entries_of(text: str) -> list[dict[str, str]]:
    """Return the entries of an index by name, for each package. Values of the header hold for all packages."""
    head, rows = _stanzas(text)
    common = {name: value for name, value in _entries(head).items() if name in ("REPO", "repository")}
    return [{**common, **_entries(row)} for row in rows]


def _entries(stanza: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition(": ") for line in stanza.splitlines())}


def with_digests(text: str, folder: Path) -> str:
    """Return an index with size, time and digests of the files in its folder, whatever it said about them.

    Raises: BUILD_FAILED if it does not list exactly the packages of the folder.
    """
    head, rows = _stanzas(text)
    known = _by_path(rows)
    there = {str(path.relative_to(folder)): path for path in folder.rglob(f"*{SUFFIX}")}
    if known.keys() != there.keys() or len(rows) != len(there):
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"Portage lists {len(known.keys() & there.keys())} of {len(there)} packages in the index",
            hint="the log has Portage's messages about the others",
        )
    return "".join(f"{stanza}\n\n" for stanza in [head, *(_described(row, there[path]) for path, row in known.items())])


def _described(row: str, file: Path) -> str:
    info = file.stat()
    digests = {name: digest_of(file, name.lower()) for name in ("MD5", "SHA1")}
    facts = {**digests, "MTIME": str(int(info.st_mtime)), "SIZE": str(info.st_size)}
    lines = [line for line in row.splitlines() if line.partition(": ")[0] not in facts]
    return "\n".join(sorted([*lines, *(f"{name}: {value}" for name, value in facts.items())]))


def _stanzas(text: str) -> tuple[str, list[str]]:
    parts = [part.strip("\n") for part in re.split(r"\n\s*\n", text) if part.strip()]
    return (parts[0], parts[1:]) if parts else ("", [])


def _by_path(rows: list[str]) -> dict[str, str]:
    return {found[1]: row for row in rows if (found := _PATH.search(row))}


def _sort_key(row: str) -> str:
    found = _CPV.search(row)
    return found[1] if found else ""
