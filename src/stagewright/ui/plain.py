"""Plain lines, for logs and pipes: one line for each event."""

from __future__ import annotations

from typing import TextIO

from stagewright.errors import StagewrightError
from stagewright.events import (
    Event,
    FileProgress,
    FileServed,
    FilesRead,
    NodeFinished,
    NodeMoved,
    NodeNotice,
    NodePhase,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    ResultMoved,
    RunFinished,
    RunStarted,
    ServerSaid,
    Status,
)
from stagewright.ui.text import duration, printable, shown, size


class Plain:
    """A listener that writes a line for each event to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write the line of an event, if it has one."""
        line = describe(event)
        if line:
            self._stream.write(line + "\n")
            self._stream.flush()


def describe(event: Event) -> str:
    """Return the line for an event, without control characters; empty if it has none."""
    return printable(_describe(event))


def _describe(event: Event) -> str:
    match event:
        case RunStarted():
            return f"{event.project}: {len(event.nodes)} to build, {event.cached} cached" if event.nodes else ""
        case FilesRead():
            return f"reading {shown(event.folder)}: {event.done} files"
        case NodeStarted() | NodeMoved():
            return started(event)
        case NodeWaiting():
            return f"{event.node}: another run is building it, waiting"
        case NodePhase():
            return f"{event.node}: {event.phase}"
        case NodeProgress():
            return f"{event.node}: {event.done} of {event.total}: {event.name}"
        case NodeNotice():
            return f"{event.node}: note: {event.text}"
        case NodeFinished():
            return finished(event)
        case RunFinished():  # the command prints a summary
            return ""
        case _:
            return moved(event) if isinstance(event, ResultMoved) else served(event)


def started(event: NodeStarted | NodeMoved) -> str:
    """Return the line for the start of a node, with the machine of a farm that builds it."""
    if isinstance(event, NodeMoved):
        return f"{event.node}: started again on {event.machine}"
    return f"{event.node}: started ({event.kind})" + (f" on {event.machine}" if event.machine else "")


def moved(event: ResultMoved) -> str:
    """Return the line for a result that came from a remote store, or went there."""
    way = "from" if event.direction == "pull" else "to"
    amount = f"{size(event.sent)} for {size(event.size)}"
    return f"{event.node}: {event.direction}ed {way} {event.remote}: {amount}, in {duration(event.seconds)}"


def served(event: Event) -> str:
    """Return the line for an event of a server; empty for any other event."""
    match event:
        case FileServed():
            amount = f"{size(event.size)} from {size(event.start)} on" if event.start else size(event.size)
            end = f"in {duration(event.seconds)}" if event.complete else "broken off"
            return f"{event.client}  {event.method} {shown(event.path)}  {event.status}  {amount}  {end}"
        case FileProgress():
            return f"{event.client}  {shown(event.path)}  {100 * event.done // event.total} % of {size(event.total)}"
        case ServerSaid():
            return f"{event.program}: {shown(event.text)}"
        case _:
            return ""


def finished(event: NodeFinished) -> str:
    """Return the line for the end of a node."""
    if event.error:
        error = StagewrightError.from_dict(event.error)
        return f"{event.node}: failed after {duration(event.seconds)}: {error.message}"
    if event.status is Status.BUILT:
        weight = f", {size(event.size)}" if event.size else ""
        return f"{event.node}: done in {duration(event.seconds)}{weight}"
    reasons = {
        Status.CACHED: "another run has built it",
        Status.SKIPPED: "skipped, because another node failed",
        Status.INTERRUPTED: "stopped",
    }
    return f"{event.node}: {reasons.get(event.status, event.status)}"
