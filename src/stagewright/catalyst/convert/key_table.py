"""The documented table of keys: which keys are honoured, how, and where Stagewright differs from Catalyst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stagewright.catalyst.convert.rule import ConversionRule
from stagewright.catalyst.convert.rule_table import rule_for
from stagewright.catalyst.spec_keys import KEYS, SpecKey, Target


@dataclass(frozen=True)
class KeyLine:
    """A line of the table: a key, the targets with the same rule for it, and this rule."""

    key: str
    meaning: str
    targets: tuple[str, ...]
    status: str
    setting: str
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return the line as JSON data."""
        return asdict(self)


def lines(targets: Sequence[Target]) -> list[KeyLine]:
    """Return the table for some targets. Targets with the same rule for a key share a line."""
    return [line for key in KEYS for line in _of_key(key, [target for target in targets if target in key.targets])]


def _of_key(key: SpecKey, targets: Iterable[Target]) -> Iterable[KeyLine]:
    ways: dict[ConversionRule, list[str]] = {}
    for target in sorted(targets, key=list(Target).index):
        ways.setdefault(rule_for(key, target), []).append(target.value)
    for rule, names in ways.items():
        yield KeyLine(key.name, key.meaning, tuple(names), rule.status.value, rule.setting, rule.explanation)


def markdown(found: Iterable[KeyLine]) -> str:
    """Return the table as a Markdown page."""
    head = (
        "# Keys of Catalyst's specs\n\n"
        "Written by `stagewright catalyst keys --markdown`, from the table that the conversion of specs uses.\n"
        "A refused key is reported with its place before the build. No key is dropped silently.\n\n"
        "| key | targets | status | setting | how, and differences from Catalyst |\n|---|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(_cells(line))} |\n" for line in found)


def _cells(line: KeyLine) -> list[str]:
    setting = f"`{line.setting}`" if line.setting else ""
    cells = [f"`{line.key}`", ", ".join(line.targets), line.status, setting, line.words]
    return [cell.replace("|", "\\|") for cell in cells]
