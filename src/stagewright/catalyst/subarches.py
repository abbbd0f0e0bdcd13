"""The sub-architectures that specs may be for (facts of Catalyst 4.1): CHOST, flags, personality to build under."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Personality:
    """What setarch is told on a machine whose kernel calls itself ``on``."""

    name: str
    on: str


@dataclass(frozen=True)
class Subarch:
    """One sub-architecture. An empty ``chost`` is that of the profile, empty ``flags`` are those of the profile."""

    name: str
    arch: str
    chost: str = ""
    flags: str = ""
    personality: Personality | None = None


@functools.cache
def subarches() -> Mapping[str, Subarch]:
    """All of them, by name."""
    text = resources.files("stagewright.catalyst").joinpath("data/subarches.toml").read_text(encoding="utf-8")
    found: dict[str, Subarch] = {}
    for arch, table in tomllib.loads(text).items():
        setarch = table.pop("setarch", None)
        personality = Personality(setarch["personality"], setarch["on"]) if setarch else None
        found |= {name: Subarch(name, arch, personality=personality, **row) for name, row in table.items()}
    return found
