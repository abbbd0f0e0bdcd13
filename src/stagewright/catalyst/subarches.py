"""Sub-architectures of Catalyst 4.1: CHOST, compiler flags, personality for builds."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Personality:
    """Personality for setarch(8) on a machine whose kernel reports the architecture ``on``."""

    name: str
    on: str


@dataclass(frozen=True)
class Subarch:
    """A sub-architecture. If ``chost`` or ``flags`` is empty, the value of the profile applies."""

    name: str
    arch: str
    chost: str = ""
    flags: str = ""
    personality: Personality | None = None


@functools.cache
def subarches() -> Mapping[str, Subarch]:
    """Return all sub-architectures by name."""
    text = resources.files("stagewright.catalyst").joinpath("data/subarches.toml").read_text(encoding="utf-8")
    found: dict[str, Subarch] = {}
    for arch, table in tomllib.loads(text).items():
        setarch = table.pop("setarch", None)
        personality = Personality(setarch["personality"], setarch["on"]) if setarch else None
        found |= {name: Subarch(name, arch, personality=personality, **row) for name, row in table.items()}
    return found
