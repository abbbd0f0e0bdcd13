"""The live terminal: a line for each running node, and finished nodes above."""

from __future__ import annotations

import contextlib
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

from stagewright.events import Event, NodeFinished, NodePhase, NodeProgress, NodeStarted, RunStarted, Status
from stagewright.ui.plain import describe
from stagewright.ui.streams import unfiltered
from stagewright.ui.text import duration, printable

_MARKS = {Status.BUILT: ("✔", "green"), Status.CACHED: ("✔", "cyan"), Status.FAILED: ("✘", "red")}


@dataclass
class _Row:
    started: float = field(default_factory=time.monotonic)
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
        self._all = 0
        self._finished = 0
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
            case RunStarted():
                self._all = len(event.nodes)
            case NodeStarted():
                self._rows[event.node] = _Row()
            case NodePhase() if event.node in self._rows:
                row = self._rows[event.node]
                row.phase, row.done, row.total, row.name = event.phase, 0, 0, ""
            case NodeProgress() if event.node in self._rows:
                row = self._rows[event.node]
                row.done, row.total, row.name = event.done, event.total, event.name
            case NodeFinished():
                self._rows.pop(event.node, None)
                self._finished += 1
                mark, style = _MARKS.get(event.status, ("-", "yellow"))
                self._console.print(Text.assemble((mark, style), " ", describe(event)))
            case _:
                if line := describe(event):
                    self._console.print(Text("  " + line, style="dim"))

    def _draw(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for node, row in self._rows.items():
            bar = ProgressBar(total=row.total, completed=max(row.done - 1, 0), width=16) if row.total else Text("")
            progress = f"{row.done} of {row.total}: {row.name}" if row.total else ""
            elapsed = duration(time.monotonic() - row.started)
            phase, step = Text(printable(row.phase)), Text(printable(progress), style="cyan")
            table.add_row(Text(node, style="bold"), phase, bar, step, Text(elapsed, style="dim"))
        if self._all:
            table.add_row(Text(f"{self._finished} of {self._all} done", style="dim"))
        return table
