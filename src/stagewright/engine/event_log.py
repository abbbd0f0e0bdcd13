"""The log of a run: its events as JSON lines in the store."""

from __future__ import annotations

import contextlib
import fcntl
from types import TracebackType
from typing import IO

from stagewright.events import Event
from stagewright.store.store import Store


class Record:
    """A listener that writes ``events/<run>.jsonl``. The file is opened with the first event.

    It raises OSError like every listener, for example on a full disk. Then :class:`stagewright.events.Listeners` drops
    it, and the run continues. The open file has a lock (flock(2)), which shows readers that the run has not ended.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.path = store.path / "events" / f"{run_id}.jsonl"
        self._stream: IO[str] | None = None

    def __call__(self, event: Event) -> None:
        """Write an event."""
        if self._stream is None:
            self._stream = self.path.open("a", buffering=1, encoding="utf-8")
            with contextlib.suppress(OSError):  # a file system without locks: the run counts as ended
                fcntl.flock(self._stream, fcntl.LOCK_EX)
        self._stream.write(event.to_json() + "\n")

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:
            with contextlib.suppress(OSError):  # the disk is full, which was reported with the event
                self._stream.close()
