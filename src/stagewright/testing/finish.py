"""The end of a test: the chart of its boot, and the report with everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stagewright.testing.results import MachineResult, Report, State
from stagewright.vm.boot_chart import Bar, Group, chart, error_bars, parts_of_boot, unit_bars
from stagewright.vm.console_scan import Finding

CHART = "boot.svg"
"""Name of the file with the chart."""


def finish(report: Report, folder: Path) -> Report:
    """Write the chart and ``result.json`` into the folder of a test. Return the report with the path of the chart."""
    path = folder / CHART
    path.write_text(chart_of(report), encoding="utf-8")
    report = replace(report, chart=path)
    report.write(folder)
    return report


def chart_of(report: Report) -> str:
    """Return the chart of a test as SVG."""
    state = "passed" if report.passed else "failed"
    name = f"{report.name}: " if report.name else ""
    found = [_later(finding, machine.start) for machine in report.machines for finding in machine.findings]
    return chart(f"{name}{state} after {report.seconds:.1f} s", _groups(report), found)


def _groups(report: Report) -> Iterator[Group]:
    styles = {State.PASSED: "step", State.FAILED: "failed"}
    several = len(report.machines) > 1
    for machine in report.machines:
        yield Group(f"boot of {machine.name}" if several else "boot", _boot(machine, report.seconds))
    steps = [
        Bar(
            f"{step.machine}: {step.text}" if several else step.text,
            step.start,
            step.start + step.seconds,
            styles[step.state],
        )
        for step in report.steps
        if step.state in styles
    ]
    yield Group("steps of the test", steps)
    for machine in report.machines:
        bars = [_moved(bar, machine.start) for bar in unit_bars(machine.units)]
        yield Group(f"units of {machine.name}" if several else "units", bars)
        errors = [_moved(bar, machine.start) for bar in error_bars(machine.findings)]
        yield Group(f"errors on the console of {machine.name}" if several else "errors on the console", errors)


def _boot(machine: MachineResult, seconds: float) -> list[Bar]:
    """Return the parts of a boot. A machine that was never started has none."""
    if not machine.command:
        return []
    return [_moved(bar, machine.start) for bar in parts_of_boot(machine.milestones, seconds - machine.start)]


def _moved(bar: Bar, seconds: float) -> Bar:
    return replace(bar, start=bar.start + seconds, end=bar.end + seconds)


def _later(finding: Finding, seconds: float) -> Finding:
    return replace(finding, seconds=finding.seconds + seconds)
