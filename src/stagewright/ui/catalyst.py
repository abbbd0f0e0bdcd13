"""The log of ``catalyst``: lines with time and level, which wrappers of Catalyst read.

``21 Nov 2026 16:00:00 UTC: NOTICE  : Creating gentoo tree snapshot ... from ...``
"""

from __future__ import annotations

import enum
import time
from typing import TextIO

from stagewright.errors import StagewrightError
from stagewright.events import Event, NodeFinished, NodePhase, NodeProgress, NodeWaiting
from stagewright.ui.plain import describe
from stagewright.ui.streams import note
from stagewright.ui.text import error_text, printable


class Level(enum.IntEnum):
    """Importance of a line; a log shows the lines of its level and above."""

    DEBUG = 10
    INFO = 20
    NOTICE = 25
    WARNING = 30
    ERROR = 40
    CRITICAL = 50

    @property
    def color(self) -> str:
        """Escape sequence that starts a line of this level on a terminal; empty for most levels."""
        colors = {Level.DEBUG: "34", Level.WARNING: "33", Level.ERROR: "31", Level.CRITICAL: "35"}
        return f"\033[1;{colors[self]}m" if self in colors else ""


_NOTHING = 100
"""A level above all others."""


class CatalystLog:
    """A listener that writes events to this log. Other lines can be written to it too.

    If the log cannot be written to any more, that is reported on standard error once, and the work goes on.
    """

    def __init__(self, stream: TextIO, level: Level = Level.NOTICE, *, color: bool = False) -> None:
        self._stream, self._level, self._color = stream, int(level), color

    def __call__(self, event: Event) -> None:
        """Write the line of an event, if it has one."""
        line = describe(event)
        level = Level.INFO if isinstance(event, NodePhase | NodeProgress | NodeWaiting) else Level.NOTICE
        if isinstance(event, NodeFinished) and event.error:
            level = Level.ERROR
        if line:
            self.say(level, line, event.time)

    def say(self, level: Level, text: str, moment: float | None = None) -> None:
        """Write a text; each of its lines gets the time."""
        if level < self._level:
            return
        stamp = time.strftime("%d %b %Y %H:%M:%S %Z", time.localtime(moment))
        color, end = (level.color, "\033[0m" if level.color else "") if self._color else ("", "")
        try:
            for line in printable(text).splitlines():
                self._stream.write(f"{color}{stamp}: {level.name:<8}: {line}{end}\n")
            self._stream.flush()
        except OSError as error:
            self._level = _NOTHING
            note(f"the log ends here, because it cannot be written to ({error})")

    def notice(self, text: str) -> None:
        """Write a line about a step of the work."""
        self.say(Level.NOTICE, text)

    def warning(self, text: str) -> None:
        """Write a line about something unexpected."""
        self.say(Level.WARNING, text)

    def failure(self, error: StagewrightError, level: Level = Level.ERROR) -> None:
        """Write an error with its place, details and hint."""
        self.say(level, error_text(error))
