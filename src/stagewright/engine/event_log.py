"""The record of a run: its events as JSON lines in the store, whatever else listens."""

from __future__ import annotations

from types import TracebackType

from stagewright.events import Event
from stagewright.store.store import Store


class Record:
    """A listener that writes ``events/<run>.jsonl``."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.path = store.path / "events" / f"{run_id}.jsonl"
        self._stream = self.path.open("a", buffering=1, encoding="utf-8")

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._stream.write(event.to_json() + "\n")

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
