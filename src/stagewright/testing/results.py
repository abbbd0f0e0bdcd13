"""Results of boot tests: the steps of a test, its machines, and the files that they leave.

``result.json`` in the folder of a test is a :class:`Report` as JSON. Paths in it are absolute.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.console_scan import Finding
from stagewright.vm.units import Unit

FORMAT = 1
"""Format of ``result.json`` (docs/test-results.md)."""

RESULT = "result.json"
"""Name of the file with the report."""


class State(enum.StrEnum):
    """State of a step after the test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # not run, because an earlier step failed


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One step of a test.

    ``start`` is the time of its start in seconds since the start of the test. ``message`` is the error of a failed
    step, without the output of the machine.
    """

    number: int
    text: str
    machine: str
    start: float
    seconds: float
    state: State
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class MachineResult:
    """One machine or container of a test.

    ``start`` is the time of its start in seconds since the start of the test. ``milestones`` are seconds since the
    start of the machine, by what its console showed first; so are the times of ``findings`` (known failures on the
    console) and of ``units`` (of systemd). ``findings_dropped`` is the number of findings that were too many.
    ``memory_available`` is in KiB, as in /proc/meminfo. ``screenshot`` is the last picture of its screen. ``firmware``
    and ``acceleration`` are empty for containers.
    """

    name: str
    command: str
    console: Path
    screenshot: Path | None = None
    start: float = 0.0
    milestones: Mapping[str, float] = field(default_factory=dict)
    memory_available: int | None = None
    firmware: str = ""
    acceleration: str = ""
    findings: tuple[Finding, ...] = ()
    findings_dropped: int = 0
    units: tuple[Unit, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of a test. ``error`` and ``detail`` are the message of a failed test and its evidence, such as output.

    ``attempts`` is 2 if the test was repeated because of a known defect of the emulator. ``chart`` is the path of the
    boot chart. ``format`` is that of ``result.json``: a number that grows when a field changes its meaning.
    """

    name: str
    passed: bool
    seconds: float
    steps: tuple[StepResult, ...]
    machines: tuple[MachineResult, ...]
    attempts: int = 1
    error: str = ""
    detail: str = ""
    chart: Path | None = None
    format: int = FORMAT

    @property
    def machine(self) -> MachineResult:
        """The first machine: the only one of most tests."""
        return self.machines[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able data. That of a single machine also has the facts of it at the top."""
        data = dataclasses.asdict(self)
        first = {name: value for name, value in data["machines"][0].items() if name != "name"}
        text = json.dumps({**(first if len(self.machines) == 1 else {}), **data}, default=str)
        result: dict[str, Any] = json.loads(text)
        return result

    def write(self, folder: Path) -> None:
        """Write ``result.json`` into a folder."""
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        (folder / RESULT).write_text(text, encoding="utf-8")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Return the report that :meth:`to_dict` has described. Raises ValueError if it has another format."""
        if data.get("format") != FORMAT:
            raise ValueError(f"not a report of format {FORMAT}")
        names = {item.name for item in dataclasses.fields(cls)}
        own = {name: value for name, value in data.items() if name in names}
        steps = tuple(StepResult(**{**step, "state": State(step["state"])}) for step in data["steps"])
        machines = tuple(map(_machine, data["machines"]))
        chart = Path(data["chart"]) if data["chart"] else None
        return cls(**{**own, "steps": steps, "machines": machines, "chart": chart})


def _machine(data: Mapping[str, Any]) -> MachineResult:
    picture = data["screenshot"]
    paths = {"console": Path(data["console"]), "screenshot": Path(picture) if picture else None}
    findings = tuple(Finding(**finding) for finding in data["findings"])
    units = tuple(Unit(**unit) for unit in data["units"])
    return MachineResult(**{**data, **paths, "findings": findings, "units": units})
