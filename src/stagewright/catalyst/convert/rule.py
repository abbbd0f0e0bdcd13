"""Rows of the table that drives conversion: what becomes of a key, told in the words that ``catalyst keys`` prints."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import SpecKey, Target

Converter = Callable[[Conversion, SpecEntry], None]
"""Puts what a key says into the entries of its spec, or refuses it."""


class KeyStatus(enum.StrEnum):
    """What becomes of a key."""

    HONOURED = "honoured"
    DIFFERS = "honoured, with a difference"
    REFUSED = "refused"
    NO_EFFECT = "without effect"


@dataclass(frozen=True)
class ConversionRule:
    """One or several keys of some targets (all that take them, when not given), and what becomes of them.

    A name may begin with ``*/``, which stands for the prefix of each target. ``setting`` is ours, ``words`` say how it
    is honoured, where that differs from Catalyst and why, or why it is refused.
    """

    names: tuple[str, ...]
    status: KeyStatus
    setting: str
    explanation: str
    convert: Converter
    targets: frozenset[Target] | None = None

    def covers(self, key: SpecKey, target: Target) -> bool:
        """Whether it says what becomes of this key."""
        if self.targets is not None and target not in self.targets:
            return False
        return any(key.name == name or (name[:2] == "*/" and _tail(key.name) == name[2:]) for name in self.names)


def _tail(name: str) -> str:
    """A key without the prefix of its target."""
    prefix, slash, rest = name.partition("/")
    return rest if slash and prefix != "boot" else ""


def rule(
    names: str,
    status: KeyStatus,
    setting: str,
    explanation: str,
    convert: Converter,
    targets: set[Target] | None = None,
) -> ConversionRule:
    """A row; names have blanks between them."""
    return ConversionRule(
        tuple(names.split()), status, setting, explanation, convert, frozenset(targets) if targets else None
    )


def refused(names: str, why: str, hint: str, targets: set[Target] | None = None) -> ConversionRule:
    """A row for keys that are refused."""

    def convert(conversion: Conversion, entry: SpecEntry) -> None:
        conversion.refuse(entry, why, hint)

    return rule(names, KeyStatus.REFUSED, "", f"{why}; {hint}", convert, targets)


def part_of_structure(conversion: Conversion, entry: SpecEntry) -> None:
    """A key that names the entries, their inputs or their files; these are made before keys are converted."""


def ignored_by_catalyst(conversion: Conversion, entry: SpecEntry) -> None:
    """A key that Catalyst makes nothing of; checking the spec has told so."""
