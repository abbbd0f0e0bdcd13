"""What the core says while it works: typed events, which faces turn into text and which disks keep as JSON lines.

Nothing under ``engine/`` or ``stages/`` prints. A worker process writes its events to standard output, one JSON object
a line; the engine adds its own and hands all of them to listeners (terminal, plain lines, JSON, the file under
``store/events``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar


class Status(enum.StrEnum):
    """How a node ended, or why it never began."""

    BUILT = "built"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"  # something it needs failed
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. ``time`` is seconds since the epoch."""

    time: float = field(default_factory=time.time)

    _types: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        Event._types[cls.__name__] = cls

    def to_json(self) -> str:
        """One line of JSON; the class name stands under ``event``."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return json.dumps({"event": type(self).__name__, **values})

    @staticmethod
    def from_json(line: str) -> Event:
        """The event on a line that :meth:`to_json` wrote. Raises ValueError or KeyError for anything else."""
        values: Any = json.loads(line)
        if not isinstance(values, dict):
            raise ValueError(f"no event: {line}")
        try:
            return Event._types[values.pop("event")](**values)
        except TypeError as error:
            raise ValueError(f"no event: {line}") from error


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A build begins: its id, and the nodes that it will make or wait for."""

    run: str
    project: str
    nodes: list[str]
    cached: int


@dataclass(frozen=True, kw_only=True)
class NodeStarted(Event):
    """A worker began on a node. ``log`` is the file that gets everything its commands print."""

    node: str
    kind: str
    key: str
    log: str


@dataclass(frozen=True, kw_only=True)
class NodeWaiting(Event):
    """Another run is building this node; this one waits for its result and goes on with the rest."""

    node: str


@dataclass(frozen=True, kw_only=True)
class NodePhase(Event):
    """What a node does now, in a word or two: ``fetch``, ``build``, ``commit``."""

    node: str
    phase: str


@dataclass(frozen=True, kw_only=True)
class NodeProgress(Event):
    """Step ``done`` of ``total`` inside a phase, with the name of the package or file at hand."""

    node: str
    done: int
    total: int
    name: str


@dataclass(frozen=True, kw_only=True)
class NodeNotice(Event):
    """Something a reader should know that is no failure, such as a removal pattern that matched nothing."""

    node: str
    text: str


@dataclass(frozen=True, kw_only=True)
class NodeFinished(Event):
    """A node ended. ``error`` is :meth:`StagewrightError.to_dict` when it failed."""

    node: str
    status: Status
    seconds: float = 0.0
    size: int = 0
    error: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))  # it is a plain string when it comes from JSON


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run is over."""

    run: str
    status: Status
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Published(Event):
    """Where the results of the targets lie that a person would look for: files and folders, by target."""

    outputs: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class FileServed(Event):
    """A file server answered: to whom, with which status, and how many bytes of the file, from where, in seconds."""

    client: str
    method: str
    path: str
    status: int
    start: int = 0
    size: int = 0
    seconds: float = 0.0
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class FileProgress(Event):
    """A client has got ``done`` of ``total`` bytes of what it asked for."""

    client: str
    path: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ServerSaid(Event):
    """What a program that serves beside us said, such as dnsmasq."""

    program: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ListenerDropped(Event):
    """A listener raised an exception and gets no further events. ``problem`` is the exception as text."""

    listener: str
    problem: str


Listener = Callable[[Event], None]


class Listeners:
    """The listeners of a run, called as one. A listener that raises is dropped; the others get every event.

    Each dropped listener is reported once: as a warning of the logger ``stagewright`` (on standard error unless the
    program configures logging), and to the remaining listeners as :class:`ListenerDropped`. Not thread-safe.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def __call__(self, event: Event) -> None:
        """Pass an event to every listener that is left."""
        dropped = []
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  a defect of a listener must not end the run
                with contextlib.suppress(ValueError):  # a listener that emits events may be dropped inside its own call
                    self._listeners.remove(listener)
                dropped.append((listener, error))
        for listener, problem in dropped:
            self._report(listener, problem)

    @contextlib.contextmanager
    def also(self, listener: Listener) -> Iterator[None]:
        """Add a listener for the length of a block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _report(self, listener: Listener, error: Exception) -> None:
        name = getattr(listener, "__qualname__", type(listener).__qualname__)
        problem = str(error) or type(error).__name__
        text = "listener %s failed and gets no further events (%s)"
        _LOGGER.warning(text, name, problem, exc_info=None if isinstance(error, OSError) else error)
        self(ListenerDropped(listener=name, problem=problem))


_LOGGER = logging.getLogger("stagewright")
