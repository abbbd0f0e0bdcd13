"""The table of keys for people: which key is honoured, how, and where that differs from Catalyst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stagewright.catalyst.convert.rule import ConversionRule
from stagewright.catalyst.convert.rule_table import rule_for
from stagewright.catalyst.spec_keys import KEYS, SpecKey, Target


@dataclass(frozen=True)
class KeyLine:
    """A key, the targets for which it is treated in one way, and that way."""

    key: str
    meaning: str
    targets: tuple[str, ...]
    status: str
    setting: str
    words: str

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON-able data."""
        return asdict(self)


def lines(targets: Sequence[Target]) -> list[KeyLine]:
    """The table for these targets; targets that treat a key alike share a line."""
    return [line for key in KEYS for line in _of_key(key, [target for target in targets if target in key.targets])]


def _of_key(key: SpecKey, targets: Iterable[Target]) -> Iterable[KeyLine]:
    ways: dict[ConversionRule, list[str]] = {}
    for target in sorted(targets, key=list(Target).index):
        ways.setdefault(rule_for(key, target), []).append(target.value)
    for rule, names in ways.items():
        yield KeyLine(key.name, key.meaning, tuple(names), rule.status.value, rule.setting, rule.explanation)


def markdown(found: Iterable[KeyLine]) -> str:
    """The table as a page."""
    head = (
        "# What becomes of each key of Catalyst's specs\n\n"
        "Written by `stagewright catalyst keys --markdown`, from the table by which specs are converted. A key that\n"
        "is refused is an error with its place before anything is built; nothing is dropped in silence.\n\n"
        "| key | for | what becomes of it | by | how, and where it differs |\n|---|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(_cells(line))} |\n" for line in found)


def _cells(line: KeyLine) -> list[str]:
    setting = f"`{line.setting}`" if line.setting else ""
    cells = [f"`{line.key}`", ", ".join(line.targets), line.status, setting, line.words]
    return [cell.replace("|", "\\|") for cell in cells]
