"""Settings that follow from other entries if a file does not have them.

A payload with one boot loader sets the `loader` of its media, and `arch` of the project that of its seeds. The values
are added to the tables before they become models, with the places that they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stagewright.arch import Arch
from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import Section
from stagewright.project.tables import Table

ARCH = "arch"


@dataclass(frozen=True)
class OnlyChoice:
    """The default of a setting: the only item of the list ``among`` in the stage that the setting ``of`` names.

    ``fitting`` are the items that can be a default; if it is empty, all can.
    """

    of: str
    among: str
    fitting: frozenset[str] = field(default=frozenset())


def infer(
    named: Mapping[str, Mapping[str, Table]], head: Table, kinds: Mapping[str, Mapping[str, type[Section]]]
) -> None:
    """Add the settings that follow from other tables, in place."""
    stages = named["stages"]
    for table in stages.values():
        model = kinds["stages"].get(str(table.data.get("kind")))
        choices: Mapping[str, OnlyChoice] = getattr(model, "only_choices", {})
        for setting, choice in choices.items():
            other = stages.get(str(table.data.get(choice.of)))
            if setting not in table.data and other:
                _take_only(table, setting, other, choice)
    project = head.data.get("project")
    arch = project.get(ARCH) if isinstance(project, dict) else None
    if arch in list(Arch):
        for table in named["seeds"].values():
            if ARCH not in table.data:
                table.data[ARCH] = arch
                table.places[ARCH,] = head.place(("project", ARCH))


def _take_only(table: Table, setting: str, other: Table, choice: OnlyChoice) -> None:
    found = other.data.get(choice.among)
    items = [found] if isinstance(found, str) else found
    if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], str):
        return
    if items[0] in choice.fitting or not choice.fitting:
        table.data[setting] = items[0]
        table.places[setting,] = other.place((choice.among, 0))
