"""Search the lines of a console for known failures. What they mean for the result of a test is decided elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from stagewright.errors import StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.vm.console_lines import Line
from stagewright.vm.failures import Failure, Part

MOST_FINDINGS = 200
"""Number of findings that a result keeps. A machine can print the same error for hours."""

NEAR = 30
"""Number of lines after a finding in which a failure that is marked ``once`` belongs to that finding."""

_LONGEST = 300  # characters of a line in a finding
_KERNEL_TIME = lazy_pattern(r"^\[ *\d+\.\d+\](\[ *[TC]\d+\])? ?")
_TYPED = lazy_pattern(r'echo "sw[0-9a-f]{8}""')
_KERNEL_RUNS = lazy_pattern(r"Linux version \d|^\[ +\d+\.\d{6}\]")
_KERNEL_ENDS = lazy_pattern(r"\breboot: (Restarting|Power down|System halted)")


@dataclass(frozen=True)
class Finding:
    """A line of a console that shows a failure.

    ``line`` is its number in ``console.timed.log``, ``seconds`` the time since the start, and ``count`` the number of
    lines with the same text.
    """

    line: int
    seconds: float
    text: str
    meaning: str
    hint: str
    part: str
    final: bool = False
    count: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-able data."""
        return asdict(self)

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"line {self.line}, {self.seconds:.1f} s: {self.text}{times}: {self.meaning}"


@dataclass(frozen=True)
class Scan:
    """The findings in a console in their order, and the number of further ones that were not kept."""

    findings: tuple[Finding, ...] = ()
    dropped: int = 0


def scan(lines: Iterable[Line], failures: Sequence[Failure], expected: Iterable[str] = ()) -> Scan:
    """Search lines for failures. The first failure that matches a line gives its meaning.

    Lines with one of the ``expected`` patterns, for which the test waits, are no findings. Neither are lines that the
    test types, nor failures of firmware and boot loaders while a kernel runs: programs print similar lines.
    """
    wanted = [re.compile(pattern) for pattern in expected]
    found: dict[tuple[str, str], Finding] = {}
    dropped = 0
    for line, failure in _matches(lines, failures):
        text = _KERNEL_TIME.sub("", line.text).strip()[:_LONGEST]
        same = (failure.meaning, text)
        if any(pattern.search(line.text) for pattern in wanted):
            continue
        if same in found:
            found[same] = replace(found[same], count=found[same].count + 1)
        elif len(found) < MOST_FINDINGS:
            found[same] = _finding(line, text, failure)
        else:
            dropped += 1
    return Scan(tuple(found.values()), dropped)


def _finding(line: Line, text: str, failure: Failure) -> Finding:
    return Finding(
        line=line.number,
        seconds=round(line.seconds, 2),
        text=text,
        meaning=failure.meaning,
        hint=failure.hint,
        part=failure.part.value,
        final=failure.final,
    )


def _matches(lines: Iterable[Line], failures: Sequence[Failure]) -> Iterator[tuple[Line, Failure]]:
    """Yield the lines that show a failure, each with the first one of the table."""
    kernel_runs, last = False, -NEAR
    early = (Part.FIRMWARE, Part.LOADER)
    for line in lines:
        if _KERNEL_ENDS.search(line.text):
            kernel_runs = False
        elif _KERNEL_RUNS.search(line.text):
            kernel_runs = True
        if _TYPED.search(line.text):
            continue
        for failure in failures:
            if not (kernel_runs and failure.part in early) and failure.regex.search(line.text):
                if not (failure.once and line.number - last <= NEAR):
                    yield line, failure
                last = line.number
                break


def described(findings: Sequence[Finding], most: int = 3) -> list[str]:
    """Return lines about the first findings, for the error of a failed test."""
    more = [f"  and {len(findings) - most} more"] if len(findings) > most else []
    head = ["known failures on the console:"] if findings else []
    return [*head, *(f"  {finding}" for finding in findings[:most]), *more]


def explained(error: StagewrightError, findings: Sequence[Finding], detail: str) -> StagewrightError:
    """Return the error of a failed step with another detail, and with meaning and hint of the first finding.

    An error keeps its hint, if it has one: that of the failure which ended the test.
    """
    message, hint = error.message, error.hint
    if findings and not any(finding.meaning in message for finding in findings):
        message = f"{message} (the console shows that {findings[0].meaning})"
    if findings and not hint:
        hint = findings[0].hint
    return StagewrightError(error.reason, message, place=error.place, hint=hint, detail=detail)
