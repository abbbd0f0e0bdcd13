"""Events: typed messages about the progress of a build.

Only listeners in ``ui/`` print. A worker process writes its events to standard output, as one JSON object on each
line. The engine adds its own events and passes all of them to the listeners: terminal, plain lines, JSON, and a file
in the folder ``events`` of the store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, ClassVar

from stagewright.lazy_dataclass import dataclass

FORMAT = 1
"""Version of the events. New events and new fields do not change it; ``stagewright schema events`` describes them."""


class Status(enum.StrEnum):
    """Final state of a node."""

    BUILT = "built"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"  # one of its inputs failed
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. ``time`` is seconds since the epoch."""

    time: float = field(default_factory=time.time)

    _types: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        Event._types[cls.__name__] = cls

    @staticmethod
    def types() -> list[type[Event]]:
        """Return the classes of all events, by name."""
        return [kind for _, kind in sorted(Event._types.items())]

    def to_json(self) -> str:
        """Return one line of JSON, with the name of the class as ``event``."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return json.dumps({"event": type(self).__name__, **values})

    @staticmethod
    def from_json(line: str) -> Event:
        """Return the event of a line that :meth:`to_json` wrote. Raises ValueError or KeyError for any other line."""
        try:
            values: Any = json.loads(line)
        except RecursionError as error:
            raise ValueError("not an event: too many levels") from error
        if not isinstance(values, dict):
            raise ValueError(f"not an event: {line}")
        try:
            return Event._types[values.pop("event")](**values)
        except TypeError as error:
            raise ValueError(f"not an event: {line}") from error


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A build started. ``nodes`` are the nodes that it builds or waits for; ``cached`` counts those in the store.

    ``folder`` is that of the project, and ``records`` the name of its records in the store. ``inputs`` are the nodes
    that each node of the plan takes, also of those in the store. ``changed`` are the entries of each key that differ
    from the last build of the node. ``format`` is the version of the events.
    """

    run: str
    project: str
    nodes: list[str]
    cached: int
    folder: str = ""
    records: str = ""
    inputs: dict[str, list[str]] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class FilesRead(Event):
    """Files of the project are read for the plan, and it takes time: ``done`` files of ``folder`` so far."""

    folder: str
    done: int


@dataclass(frozen=True, kw_only=True)
class NodeStarted(Event):
    """A worker started to build a node. ``log`` is the file with the output of its commands.

    ``machine`` is the name of the machine of a farm that builds it; empty for this machine.
    """

    node: str
    kind: str
    key: str
    log: str
    machine: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeMoved(Event):
    """Another machine of a farm builds the node from now on, from its beginning: the one before was lost or refused."""

    node: str
    machine: str


@dataclass(frozen=True, kw_only=True)
class NodeWaiting(Event):
    """Another run is building this node. This run waits for the result and continues with other nodes."""

    node: str


@dataclass(frozen=True, kw_only=True)
class NodePhase(Event):
    """A node entered a phase, in one or two words: ``fetch``, ``build``, ``commit``.

    ``waits`` is True if the node waits for another one in this phase. Its time limit does not count meanwhile.
    """

    node: str
    phase: str
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeProgress(Event):
    """Step ``done`` of ``total`` in a phase. ``name`` is the package or file of this step."""

    node: str
    done: int
    total: int
    name: str


@dataclass(frozen=True, kw_only=True)
class NodeNotice(Event):
    """Information for users that is not a failure, such as a removal pattern without a match."""

    node: str
    text: str


@dataclass(frozen=True, kw_only=True)
class NodeFinished(Event):
    """A node ended. ``error`` is :meth:`StagewrightError.to_dict` if the node failed.

    ``machine_root`` is the folder in which a machine of a farm keeps the root of a failed build; empty if none does.
    """

    node: str
    status: Status
    seconds: float = 0.0
    size: int = 0
    error: dict[str, Any] | None = None
    machine_root: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))  # JSON has a plain string


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """A build ended."""

    run: str
    status: Status
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Published(Event):
    """Results were linked into the output folder. ``outputs`` are paths of files and folders, by target."""

    outputs: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class ResultMoved(Event):
    """A result came from a remote store (``pull``) or went there (``push``).

    ``sent`` are the bytes that were transferred, ``size`` those of the contents of its files.
    """

    node: str
    key: str
    remote: str
    direction: str
    sent: int
    size: int
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FileServed(Event):
    """A file server answered a request. ``start`` and ``size`` are the sent bytes of the file."""

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
    """A client received ``done`` of ``total`` bytes of a file."""

    client: str
    path: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ServerSaid(Event):
    """A line of output from a server program that Stagewright started, such as dnsmasq."""

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
