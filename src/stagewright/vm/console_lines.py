"""The lines of a console with the time of each, and the file that has them.

``console.timed.log`` has a line for each line of the console, in the form ``[   12.345] text``: seconds since the
start, and the text without escape sequences. The raw output is in ``console.log``. Line numbers of reports are those of
``console.timed.log``: boot menus draw with cursor moves, so the raw file has other lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern

TIMED_LOG = "console.timed.log"
"""Name of the file in the folder of ``console.log``."""

_LINE = lazy_pattern(r"\[ *(?P<seconds>\d+\.\d{3})\] ?(?P<text>.*)")


@dataclass(frozen=True)
class Line:
    """A line of a console: its number from 1, seconds since the start when it began, and its text."""

    number: int
    seconds: float
    text: str

    def __str__(self) -> str:
        return f"[{self.seconds:9.3f}] {self.text}".rstrip()


class LineClock:
    """Divides the text of a console, which comes in pieces, into lines, and writes them to a file.

    The last line may be incomplete. The file gets it at the end. With ``append`` the lines of the file come first.
    """

    def __init__(self, file: Path | None = None, *, append: bool = False) -> None:
        goes_on = file and append and file.exists()
        self._lines = list(read_lines(file.read_text(encoding="utf-8"))) if file and goes_on else []
        self._rest = ""
        self._began = 0.0
        self._file = file.open("a" if goes_on else "w", encoding="utf-8", newline="\n") if file else None

    @property
    def lines(self) -> list[Line]:
        """All lines so far; the last one may be incomplete."""
        rest = [Line(len(self._lines) + 1, self._began, self._rest)] if self._rest else []
        return [*self._lines, *rest]

    def feed(self, text: str, seconds: float) -> None:
        """Add text that came at a time."""
        *complete, rest = text.split("\n")
        for part in complete:
            began = self._began if self._rest else seconds
            self._add(Line(len(self._lines) + 1, began, self._rest + part))
            self._rest = ""
        if rest and not self._rest:
            self._began = seconds
        self._rest += rest

    def close(self) -> None:
        """Write the incomplete last line, and close the file."""
        if self._rest:
            self._add(self.lines[-1])
            self._rest = ""
        if self._file:
            with contextlib.suppress(OSError):  # the disk is full; console.log reports that
                self._file.close()
            self._file = None

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        if self._file:
            with contextlib.suppress(OSError):
                self._file.write(f"{line}\n")


def read_lines(text: str) -> Iterator[Line]:
    """Yield the lines of a ``console.timed.log``. Lines in another form are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        if found := _LINE.fullmatch(line):
            yield Line(number, float(found["seconds"]), found["text"])
