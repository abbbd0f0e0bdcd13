"""JSON lines, for programs: every event at once."""

from __future__ import annotations

from typing import TextIO

from stagewright.events import Event


class JsonLines:
    """A listener that writes each event as one JSON object on a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._stream.write(event.to_json() + "\n")
        self._stream.flush()
