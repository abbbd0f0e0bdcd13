"""Known failures: patterns of console output with a meaning and a hint. Tables of them are in ``known_failures/``.

A *final* failure ends a boot: a test stops waiting when the console shows it. All others explain why a test failed, and
are findings in the console of a test that passed.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Sequence

from stagewright.lazy_dataclass import dataclass


class Part(enum.StrEnum):
    """The program that prints a failure, or that it is about."""

    FIRMWARE = "firmware"
    LOADER = "loader"
    KERNEL = "kernel"
    STORAGE = "storage"
    INITRAMFS = "initramfs"
    INIT = "init"
    PROGRAM = "program"
    PROJECT = "project"


@dataclass(frozen=True)
class Failure:
    """A failure: its meaning, the pattern of the line that shows it, and what to do (one command or one edit).

    In patterns, ``^`` and ``$`` are the ends of a line. ``once`` is True if the line often follows another failure,
    which says more. The search for findings then ignores it.
    """

    meaning: str
    pattern: str
    hint: str = ""
    part: Part = Part.PROJECT
    final: bool = False
    once: bool = False

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled when it is first used: few processes need the tables."""
        return re.compile(self.pattern, re.MULTILINE)

    def line_in(self, text: str, start: int = 0) -> str:
        """Return the rest of the line in which the pattern is found; empty if it is not found."""
        found = self.regex.search(text, start)
        return text[found.start() :].partition("\n")[0].strip() if found else ""


def rows(part: Part, *table: tuple[str, str, str], final: bool = False, once: bool = False) -> tuple[Failure, ...]:
    """Return the failures of a table with the columns meaning, pattern and hint."""
    return tuple(Failure(meaning, pattern, hint, part, final, once) for meaning, pattern, hint in table)


def final_ones(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """Return the failures that end a boot."""
    return tuple(failure for failure in failures if failure.final)


def first_in(failures: Sequence[Failure], text: str, start: int = 0) -> Failure | None:
    """Return the first failure of a table that is in a text. Tables have the more specific patterns first."""
    return next((failure for failure in failures if failure.regex.search(text, start)), None)
