"""The units of systemd in a guest, with the time that each took to start, from the status lines on its console."""

from __future__ import annotations

from collections.abc import Iterable

from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.vm.console_lines import Line

_STARTING = lazy_pattern(r"^ {9}(Starting|Mounting) (?P<unit>.+?)\.\.\.$")
_ENDED = lazy_pattern(
    r"^\[(?P<state>  OK  |FAILED)\] (Started|Finished|Mounted|Failed to start|Failed to mount) (?P<unit>.+)$"
)


@dataclass(frozen=True)
class Unit:
    """A unit that was started: its name or description, when that began and ended (seconds), and if it failed."""

    name: str
    start: float
    end: float
    failed: bool = False


def units_of(lines: Iterable[Line]) -> list[Unit]:
    """Return the units whose start and end the console shows, in the order of their starts.

    systemd prints a line when it begins to start a unit, and a line when that is done. Units that start at once have
    the second line only; they are left out unless they failed.
    """
    begun: dict[str, float] = {}
    found: list[Unit] = []
    for line in lines:
        if starting := _STARTING.match(line.text):
            begun[_name(starting["unit"])] = line.seconds
        elif ended := _ENDED.match(line.text):
            name, failed = _name(ended["unit"]), ended["state"] == "FAILED"
            if name in begun or failed:
                found.append(Unit(name, begun.pop(name, line.seconds), line.seconds, failed))
    return sorted(found, key=lambda unit: (unit.start, unit.end))


def _name(text: str) -> str:
    """Return the name of a unit: ``a.service`` of ``a.service - Description``, or the description alone."""
    name, separator, _ = text.partition(" - ")
    return name if separator and "." in name and " " not in name else text.rstrip(".")
