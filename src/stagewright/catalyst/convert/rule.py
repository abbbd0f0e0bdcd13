"""Rules of the conversion: how Stagewright converts a key, with the explanation that ``catalyst keys`` prints."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import SpecKey, Target

Converter = Callable[[Conversion, SpecEntry], None]
"""Function that adds a key's value to the entries of its spec, or refuses the key."""


class KeyStatus(enum.StrEnum):
    """How a key is treated."""

    HONOURED = "honoured"
    DIFFERS = "honoured, with a difference"
    REFUSED = "refused"
    NO_EFFECT = "without effect"


@dataclass(frozen=True)
class ConversionRule:
    """A rule for one or more keys of some targets. Without ``targets`` it applies to all targets with these keys.

    A name may begin with ``*/``, which stands for the prefix of each target. ``setting`` is Stagewright's setting.
    ``explanation`` says how the key is honoured and how this differs from Catalyst, or why it is refused.
    """

    names: tuple[str, ...]
    status: KeyStatus
    setting: str
    explanation: str
    convert: Converter
    targets: frozenset[Target] | None = None

    def covers(self, key: SpecKey, target: Target) -> bool:
        """Return True if the rule applies to a key of a target."""
        if self.targets is not None and target not in self.targets:
            return False
        return any(key.name == name or (name[:2] == "*/" and _tail(key.name) == name[2:]) for name in self.names)


def _tail(name: str) -> str:
    """Return a key's name without the prefix of its target."""
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
    """Return a rule. ``names`` are separated by spaces."""
    return ConversionRule(
        tuple(names.split()), status, setting, explanation, convert, frozenset(targets) if targets else None
    )


def refused(names: str, why: str, hint: str, targets: set[Target] | None = None) -> ConversionRule:
    """Return a rule that refuses keys."""

    def convert(conversion: Conversion, entry: SpecEntry) -> None:
        conversion.refuse(entry, why, hint)

    return rule(names, KeyStatus.REFUSED, "", f"{why}; {hint}", convert, targets)


def part_of_structure(conversion: Conversion, entry: SpecEntry) -> None:
    """Do nothing: the key names entries, inputs or files, which are added before the keys are converted."""


def ignored_by_catalyst(conversion: Conversion, entry: SpecEntry) -> None:
    """Do nothing: Catalyst ignores the key. The check of the spec has already reported this."""
