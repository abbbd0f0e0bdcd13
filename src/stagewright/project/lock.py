"""``stagewright.lock``: what moves in the world, pinned, so that the same project and the same lock give the same keys.

::

    # comment
    format = 2
    source_date_epoch = 1763596800

    [repos.gentoo]
    request = "77aa..."               digest of the settings that were resolved
    resolved = "2026-11-20"           the day of the look-up
    date = "2026-11-20 06:41:02"      of what was found; UTC
    commit = "5d3f..."
    tree = "git-tree:90ab..."         what stands for it in keys

    [seeds.debian]
    request = "0a1b..."
    resolved = "2026-11-20"
    packages = [ "base-files=12.4", ... ]

``update`` moves pins; ``build`` only adds those that are missing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.project.source import read
from stagewright.project.toml import key, string, value

FILE_NAME = "stagewright.lock"
FORMAT = 2
READABLE = (1, FORMAT)
"""Formats that are read; format 1 had no repositories (docs/format-changelog.md)."""

_HEAD = "# Written by stagewright; keep it under version control. `stagewright update` moves what is pinned here.\n"

_TREE = "[a-z0-9-]+:[0-9a-f]{40,128}"
"""What stands for a repository in keys, and names its folder in the store."""

LAST_EPOCH = 253402214400
"""The last time stamp that is accepted, in seconds since 1970: the last day of the year 9999."""

TABLES = ("repos", "seeds")
"""What is pinned, in the order of the file."""

Pin = Mapping[str, Any]


def request_digest(settings: Mapping[str, Any]) -> str:
    """The digest of the settings that a pin answers; a pin with another one is stale."""
    return Key.of(dict(settings)).digest


@dataclass(frozen=True)
class Lock:
    """The pins of a project. ``file`` is where it lies, whether it is there yet or not."""

    file: Path
    epoch: int
    seeds: Mapping[str, Pin] = field(default_factory=dict)
    repos: Mapping[str, Pin] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Lock:
        """The lock of a project folder, or an empty one stamped with the present moment."""
        file = folder / FILE_NAME
        if not file.exists():
            return cls(file, int(time.time()))
        data = read(file).data
        epoch, tables = data.get("source_date_epoch"), {name: data.get(name, {}) for name in TABLES}
        dated = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= LAST_EPOCH
        pinned = all(
            isinstance(pins, dict) and all(isinstance(pin, dict) for pin in pins.values()) for pins in tables.values()
        )
        whole = pinned and all(re.fullmatch(_TREE, str(pin.get("tree"))) for pin in tables["repos"].values())
        if data.get("format") not in READABLE or not dated or not whole:
            raise StagewrightError(
                Reason.FORMAT,
                f"this is no lock file of format {FORMAT}",
                place=Place(file, 1),
                hint="remove it and run stagewright update",
            )
        return cls(file, data["source_date_epoch"], **tables)

    def pins(self, table: str) -> Mapping[str, Pin]:
        """The pins of ``seeds`` or of ``repos``, by name."""
        found: Mapping[str, Pin] = getattr(self, table)
        return found

    def with_pin(self, table: str, name: str, pin: Pin) -> Lock:
        """The same lock with one seed or repository pinned anew."""
        pins = {**self.pins(table), name: pin}
        return replace(self, seeds=pins) if table == "seeds" else replace(self, repos=pins)

    def with_seed(self, name: str, pin: Pin) -> Lock:
        """The same lock with one seed pinned anew."""
        return self.with_pin("seeds", name, pin)

    def text(self) -> str:
        """The file's content, in a stable order, one fact a line."""
        lines = [_HEAD + f"format = {FORMAT}", f"source_date_epoch = {self.epoch}"]
        for table in TABLES:
            for name, pin in sorted(self.pins(table).items()):
                lines += ["", f"[{table}.{string(name)}]"]
                lines += [f"{key(fact)} = {value(found, width=0)}" for fact, found in pin.items()]
        return "\n".join(lines) + "\n"
