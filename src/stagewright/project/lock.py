"""``stagewright.lock``: pins of seeds, repositories, earlier releases and live packages.

The same project with the same lock gives the same keys.

::

    # comment
    format = 2
    source_date_epoch = 1763596800

    [repos.gentoo]
    request = "77aa..."               digest of the settings that were resolved
    resolved = "2026-11-20"           day of the look-up
    date = "2026-11-20 06:41:02"      time stamp of the commit or snapshot, UTC
    commit = "5d3f..."
    tree = "git-tree:90ab..."         id of the tree, part of keys

    [seeds.debian]
    request = "0a1b..."
    resolved = "2026-11-20"
    packages = [ "base-files=12.4", ... ]

    [releases.live]
    request = "5c0e..."
    resolved = "2026-11-20"
    version = "1.0"                   the release before
    sha256 = "e3b0..."                digest of its notes

    [online."app-misc/hello"]
    request = "9c1d..."
    resolved = "2026-11-20"
    package = "app-misc/hello-9999"
    commits = { EXAMPLE_HELLO = "4be4..." }   by the name of the clone in git-r3.eclass

``update`` changes pins. ``build`` only adds missing ones.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.lazy_dataclass import dataclass
from stagewright.project.source import read
from stagewright.project.toml import key, string, value

FILE_NAME = "stagewright.lock"
FORMAT = 2
READABLE = (1, FORMAT)
"""Formats that this version reads. Format 1 had no repositories (docs/format-changelog.md)."""

_HEAD = "# Written by stagewright; keep it under version control. `stagewright update` changes these pins.\n"

_TREE = "[a-z0-9-]+:[0-9a-f]{40,128}"
"""Pattern of tree ids, which keys contain and which name folders in the store."""

_REPOSITORY = {
    "tree": _TREE,
    "commit": "[0-9a-f]{40}|[0-9a-f]{64}",
    "sha512": "[0-9a-f]{128}",
    "file": r"[^/\x00-\x1f.-][^/\x00-\x1f]{0,254}",
    "date": r"\d{8}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",  # of a snapshot, of a commit
}
"""Patterns of the entries of a repository's pin. Keys contain the tree; commands and paths contain the others."""

LAST_EPOCH = 253402214400
"""Last accepted time stamp, in seconds since 1970: the last day of the year 9999."""

TABLES = ("repos", "seeds", "releases", "online")
"""Tables of the lock, in the order of the file."""

Pin = Mapping[str, Any]


def request_digest(settings: Mapping[str, Any]) -> str:
    """Return the digest of the settings that a pin is resolved from. A pin with another digest is stale."""
    return Key.of(dict(settings)).digest


def _is_repository(pin: Pin) -> bool:
    """Return True for the pin of a repository whose entries have the form that :class:`Lock` writes."""
    return "tree" in pin and all(
        isinstance(pin[name], str) and re.fullmatch(pattern, pin[name])
        for name, pattern in _REPOSITORY.items()
        if name in pin
    )


@dataclass(frozen=True)
class Lock:
    """Pins of a project. ``file`` is the path of the lock, which may not exist yet."""

    file: Path
    epoch: int
    seeds: Mapping[str, Pin] = field(default_factory=dict)
    repos: Mapping[str, Pin] = field(default_factory=dict)
    releases: Mapping[str, Pin] = field(default_factory=dict)
    online: Mapping[str, Pin] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Lock:
        """Read the lock of a project folder, as :meth:`read` does."""
        return cls.read(folder / FILE_NAME)

    @classmethod
    def read(cls, file: Path) -> Lock:
        """Read a lock file, or return an empty lock with the current time if it does not exist.

        Raises ``FORMAT`` if the file is not a lock of a known format.
        """
        if not file.exists():
            return cls(file, int(time.time()))
        data = read(file).data
        epoch, tables = data.get("source_date_epoch"), {name: data.get(name, {}) for name in TABLES}
        dated = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= LAST_EPOCH
        pinned = all(
            isinstance(pins, dict) and all(isinstance(pin, dict) for pin in pins.values()) for pins in tables.values()
        )
        whole = pinned and all(map(_is_repository, tables["repos"].values()))
        if data.get("format") not in READABLE or not dated or not whole:
            raise StagewrightError(
                Reason.FORMAT,
                f"not a lock file of format {FORMAT}",
                place=Place(file, 1),
                hint="remove it and run `stagewright update`",
            )
        return cls(file, data["source_date_epoch"], **tables)

    def pins(self, table: str) -> Mapping[str, Pin]:
        """Return the pins of one of :data:`TABLES` by name."""
        found: Mapping[str, Pin] = getattr(self, table)
        return found

    def with_pin(self, table: str, name: str, pin: Pin) -> Lock:
        """Return a copy of the lock with a new pin in one of :data:`TABLES`."""
        pins = {**self.pins(table), name: pin}
        tables = {**{one: self.pins(one) for one in TABLES}, table: pins}
        return Lock(self.file, self.epoch, **tables)

    def with_seed(self, name: str, pin: Pin) -> Lock:
        """Return a copy of the lock with a new pin for one seed."""
        return self.with_pin("seeds", name, pin)

    def text(self) -> str:
        """Return the content of the file: sorted tables, one value per line."""
        lines = [_HEAD + f"format = {FORMAT}", f"source_date_epoch = {self.epoch}"]
        for table in TABLES:
            for name, pin in sorted(self.pins(table).items()):
                lines += ["", f"[{table}.{string(name)}]"]
                lines += [f"{key(fact)} = {value(found, width=0)}" for fact, found in pin.items()]
        return "\n".join(lines) + "\n"
