"""Settings of tests about the console: failures of a project, what errors mean for the result, and permitted ones."""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.project.fields import ByValue, Matching, Section, check_pattern
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.vm.failures import Failure

OUTDATED = datetime.timedelta(days=365)
"""Entries that expired so long before the date of the project are errors."""


def _pattern(text: str) -> str:
    """Check the pattern of a line. Raises PydanticCustomError if it is invalid or matches every line."""
    if re.compile(check_pattern(text), re.MULTILINE).search(""):
        facts = {"text": repr(text), "hint": "write a part of the line"}
        raise PydanticCustomError("pattern", "the regular expression {text} matches every line", facts)
    return text


LinePattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression for a line of the console."""

Words = Annotated[str, Matching(r"(?s:.*\S.*)", "a sentence")]


class OnErrors(enum.StrEnum):
    """Meaning of errors on the console of a test that otherwise passes."""

    REPORT = "report"
    FAIL = "fail"
    IGNORE = "ignore"


class OwnFailure(Section):
    """A failure that a project knows, in addition to Stagewright's."""

    pattern: LinePattern
    """A regular expression for the line that shows it."""
    meaning: Words
    """The meaning of the line, for error messages."""
    hint: str = ""
    """The remedy: one command, or one edit."""
    final: bool = False
    """True if the system cannot go on after it: a test that waits for something else then fails at once."""

    def failure(self) -> Failure:
        """Return the failure for the console."""
        return Failure(self.meaning, self.pattern, self.hint, final=self.final)


def _date(value: object, info: ValidationInfo) -> object:
    """Return the date of a text in a job file. TOML has dates, so a text there is an error."""
    return datetime.date.fromisoformat(value) if info.mode == "json" and isinstance(value, str) else value


class Allowed(Section):
    """An error that may be on the console of a test."""

    pattern: LinePattern
    """A regular expression for the line, without the time of the kernel."""
    reason: Words
    """Why the error is accepted, for example the address of a bug report."""
    until: Annotated[datetime.date | None, BeforeValidator(_date)] = None
    """The last day on which the entry counts (UTC); default: it counts always."""


def outdated(allow: Sequence[Allowed], epoch: int) -> Iterator[tuple[KeyPath, StagewrightError]]:
    """Yield an error for each entry that expired long before the date of the project.

    The clock has no part in it: a project that was valid stays valid.
    """
    day = datetime.datetime.fromtimestamp(epoch, datetime.UTC).date()
    for number, entry in enumerate(allow):
        if entry.until and day - entry.until > OUTDATED:
            message = f"until: {entry.until} is more than a year before the date of the project ({day})"
            hint = "remove the entry, or correct the year"
            yield ("allow", number, "until"), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)


class ConsoleSettings(Section):
    """Settings of a test about its console.

    ``console`` and ``allow`` are in no key: the findings are facts of the test, and what they mean is decided each time
    the result is used (engine/console_verdict.py, decision 46).
    """

    failures: list[OwnFailure] = Field(default=[], exclude_if=lambda failures: not failures)
    """Failures that the project knows, in addition to Stagewright's. They end the test, or explain its failure."""
    console: Annotated[OnErrors, ByValue(), NotInKey()] = OnErrors.REPORT
    """The use of errors on the console if the test itself passes: `report`, `fail` or `ignore`."""
    allow: Annotated[list[Allowed], NotInKey()] = []
    """Errors that may be on the console."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that no permitted error expired long ago."""
        yield from outdated(self.allow, project.epoch)

    def own_failures(self) -> tuple[Failure, ...]:
        """Return the failures that the project knows."""
        return tuple(failure.failure() for failure in self.failures)
