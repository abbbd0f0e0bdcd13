"""The live terminal: a line for each running node, and finished nodes above."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stagewright.events import (
    Event,
    NodeFinished,
    NodeMoved,
    NodePhase,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Status,
)
from stagewright.ui.plain import describe
from stagewright.ui.streams import unfiltered
from stagewright.ui.text import duration, printable

_MARKS = {Status.BUILT: ("✔", "green"), Status.CACHED: ("✔", "cyan"), Status.FAILED: ("✘", "red")}

_ASCII = {"✔": "+", "✘": "x"}
"""Marks for terminals that cannot show the others."""

QUIET = 3.0
"""Seconds without progress after which the last line of the log of a node is shown."""

_TAIL = 4096
"""Bytes at the end of a log that are looked at."""


@dataclass
class _Row:
    log: str = ""
    machine: str = ""
    started: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    phase: str = "start"
    done: int = 0
    total: int = 0
    name: str = ""


class LiveConsole(Console):
    """Standard error as a terminal. It raises BrokenPipeError where a plain console ends the whole program."""

    def __init__(self) -> None:
        super().__init__(file=unfiltered(sys.stderr), highlight=False)

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise  # noqa: PLE0704


class LiveTerminal:
    """A listener that draws on a terminal; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._waiting: set[str] = set()
        self._all = 0
        self._finished = 0
        self._failed = 0
        self._began = time.monotonic()
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveTerminal:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone, and the result of the build must not
            self._live.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Draw nothing for the length of a block, so that the user can type."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def __call__(self, event: Event) -> None:
        """Update the display."""
        match event:
            case RunStarted():  # what ended before was looked up for the lock
                self._all, self._finished, self._failed = len(event.nodes), 0, 0
            case NodeStarted():
                self._rows[event.node] = _Row(event.log, event.machine)
                self._waiting.discard(event.node)
            case NodeMoved() if event.node in self._rows:
                row = self._rows[event.node]
                row.machine, row.phase, row.done, row.total = event.machine, "start", 0, 0
            case NodePhase() if event.node in self._rows:
                row = self._rows[event.node]
                row.phase, row.done, row.total, row.name = event.phase, 0, 0, ""
                row.moved = time.monotonic()
            case NodeProgress() if event.node in self._rows:
                row = self._rows[event.node]
                row.done, row.total, row.name = event.done, event.total, event.name
                row.moved = time.monotonic()
            case NodeFinished():
                self._finish(event)
            case RunFinished():  # the command prints a summary
                pass
            case _:
                if isinstance(event, NodeWaiting):
                    self._waiting.add(event.node)
                if line := describe(event):
                    self._console.print(Text("  " + line, style="dim"))

    def _finish(self, event: NodeFinished) -> None:
        self._rows.pop(event.node, None)
        self._waiting.discard(event.node)
        self._finished += 1
        self._failed += event.status is Status.FAILED
        mark, style = _MARKS.get(event.status, ("-", "yellow"))
        if not self._console.encoding.lower().startswith("utf"):
            mark = _ASCII.get(mark, mark)
        text = describe(event)
        if not self._all and event.status is Status.BUILT:
            text = f"{event.node}: looked up in {duration(event.seconds)}"
        self._console.print(Text.assemble((mark, style), " ", printable(text)))

    def _counts(self) -> str:
        """Return the counts of nodes and the time since the start of the display."""
        words = [f"{self._finished} of {self._all} done"]
        words += [f"{self._failed} failed"] if self._failed else []
        words += [f"{len(self._waiting)} waiting for another run"] if self._waiting else []
        return ", ".join([*words, duration(time.monotonic() - self._began)])

    def _on_machines(self) -> bool:
        """Return True if machines of a farm build nodes now."""
        return any(row.machine for row in self._rows.values())

    def _draw(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for node, row in self._rows.items():
            bar = ProgressBar(total=row.total, completed=max(row.done - 1, 0), width=16) if row.total else Text("")
            progress = f"{row.done} of {row.total}: {row.name}" if row.total else ""
            elapsed = duration(time.monotonic() - row.started)
            phase, step = Text(printable(row.phase)), Text(printable(progress), style="cyan")
            name = Text(middle(node, max(8, self._console.width // 3)), style="bold")
            where = [Text(printable(row.machine), style="dim")] if self._on_machines() else []
            table.add_row(name, *where, phase, bar, step, Text(elapsed, style="dim"))
        if not self._all:
            return table
        whole = Table.grid()
        whole.add_row(table)
        for row in self._rows.values():
            quiet = time.monotonic() - row.moved > QUIET
            if quiet and (line := last_line(row.log)):
                whole.add_row(Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis"))
        whole.add_row(Text(self._counts(), style="dim"))
        return whole


def middle(text: str, width: int) -> str:
    """Return a text of at most a width, without its middle if it is longer: names differ at both ends."""
    if len(text) <= width:
        return text
    left = (width - 3) // 2
    return f"{text[:left]}...{text[len(text) - (width - 3 - left) :]}"


def last_line(log: str) -> str:
    """Return the last line of a log that is not empty; empty if there is none."""
    try:
        with open(log, "rb") as stream:  # noqa: PTH123
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((printable(line.strip()) for line in reversed(lines) if line.strip()), "")
