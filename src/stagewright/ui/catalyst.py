"""The log of ``catalyst``: lines with time and level, as wrappers of Catalyst read them.

``21 Nov 2026 16:00:00 UTC: NOTICE  : Creating gentoo tree snapshot ... from ...``
"""

from __future__ import annotations

import enum
import time
from typing import TextIO

from stagewright.errors import StagewrightError
from stagewright.events import Event, NodeFinished, NodePhase, NodeProgress, NodeWaiting
from stagewright.ui.plain import describe
from stagewright.ui.text import error_text


class Level(enum.IntEnum):
    """How much a line matters; a log shows lines of its level and above."""

    DEBUG = 10
    INFO = 20
    NOTICE = 25
    WARNING = 30
    ERROR = 40
    CRITICAL = 50

    @property
    def color(self) -> str:
        """The escape sequence that a terminal gets before such a line; empty for ordinary ones."""
        colors = {Level.DEBUG: "34", Level.WARNING: "33", Level.ERROR: "31", Level.CRITICAL: "35"}
        return f"\033[1;{colors[self]}m" if self in colors else ""


class CatalystLog:
    """A listener that writes such a log; it is called with events, or told things directly."""

    def __init__(self, stream: TextIO, level: Level = Level.NOTICE, *, color: bool = False) -> None:
        self._stream, self._level, self._color = stream, level, color

    def __call__(self, event: Event) -> None:
        """Take an event."""
        line = describe(event)
        level = Level.INFO if isinstance(event, NodePhase | NodeProgress | NodeWaiting) else Level.NOTICE
        if isinstance(event, NodeFinished) and event.error:
            level = Level.ERROR
        if line:
            self.say(level, line, event.time)

    def say(self, level: Level, text: str, moment: float | None = None) -> None:
        """Write a text, each of its lines with the time."""
        if level < self._level:
            return
        stamp = time.strftime("%d %b %Y %H:%M:%S %Z", time.localtime(moment))
        color, end = (level.color, "\033[0m" if level.color else "") if self._color else ("", "")
        for line in text.splitlines():
            self._stream.write(f"{color}{stamp}: {level.name:<8}: {line}{end}\n")
        self._stream.flush()

    def notice(self, text: str) -> None:
        """Tell what is done."""
        self.say(Level.NOTICE, text)

    def warning(self, text: str) -> None:
        """Tell what may surprise."""
        self.say(Level.WARNING, text)

    def failure(self, error: StagewrightError, level: Level = Level.ERROR) -> None:
        """Tell what went wrong, with all its evidence."""
        self.say(level, error_text(error))
