"""An attempt at a node on a farm: a thread that follows it from machine to machine, until it ends."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from stagewright.engine.farm.files import PackedFile
from stagewright.engine.farm.placing import Site
from stagewright.engine.farm.wire import BEGUN, EVENT, LOG, BuildReply, Message
from stagewright.engine.job import Job
from stagewright.errors import NEXT_HINT, Exit, Reason, StagewrightError
from stagewright.events import Event, NodeFinished, NodeMoved, NodeNotice, NodePhase, Status

DEATHS = 3
"""Machines that are lost while they build a node before the node is given up."""

_EVIDENCE = 15
"""Lines of the log that are shown about a node that was lost."""


class Lost(Exception):  # noqa: N818  the run goes on elsewhere
    """The machine of an attempt is not connected any more."""


class Task(Protocol):
    """A node that was sent to a machine."""

    name: str

    def reply(self, timeout: float) -> BuildReply | None:
        """Return the reply; None if there is none yet. Raises: :class:`Lost`, or FARM for a lost scheduler."""

    def cancel(self) -> None:
        """Report that the run does not need it any more."""


class Farm(Protocol):
    """The part of the executor that attempts use."""

    def prepare(self, attempt: FarmAttempt) -> None:
        """Give inputs and files of a job to the shared store."""

    def send(self, attempt: FarmAttempt, number: int) -> Task:
        """Send a job to the machine of an attempt."""

    def move(self, attempt: FarmAttempt) -> bool:
        """Give an attempt another machine. Return False if none has room now. Raises: FARM if none can build it."""

    def accept(self, attempt: FarmAttempt, reply: BuildReply) -> None:
        """Take the result of an attempt: its metadata, and the result itself if this machine needs it."""


@dataclass
class FarmAttempt:
    """One node on a farm, with the interface of :class:`stagewright.engine.executor.Attempt`.

    ``site`` is the machine that has it now. ``avoid`` are the addresses that lost or refused it.
    """

    farm: Farm
    job: Job
    folder: Path
    site: Site
    avoid: set[str] = field(default_factory=set)
    silent: bool = False
    keeps_root: bool = False
    files: Mapping[str, PackedFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._result: NodeFinished | None = None
        self._task: Task | None = None
        self._begun = False
        self._stopped: StagewrightError | None = None
        self._killed = threading.Event()
        self._lost: list[str] = []
        self._refused: dict[str, str] = {}
        self._unfit: NodeFinished | None = None
        self._tail: deque[str] = deque(maxlen=_EVIDENCE)
        self._started = time.monotonic()
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"farm {self.job.node.id}", daemon=True)

    def start(self) -> Self:
        """Start the thread."""
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    # the interface of attempts

    def descriptors(self) -> list[int]:
        """Return the descriptor that is readable when something came."""
        return [self._wake]

    def ends(self) -> list[int]:
        """Return no descriptors: that of the events also reports the end."""
        return []

    def fileno(self) -> int:
        """Return the descriptor that is readable when something came."""
        return self._wake

    def events(self) -> Iterator[Event]:
        """Yield the events that have come since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while not self._events.empty():
            yield self._events.get()

    @property
    def ended(self) -> bool:
        """True if the result is known and all events were taken."""
        return self._result is not None and self._events.empty()

    def outcome(self) -> NodeFinished:
        """Return the result."""
        assert self._result
        return self._result

    def stop(self, error: StagewrightError) -> None:
        """End it because of an error."""
        self._stopped = error
        self._cancel()

    def kill(self) -> None:
        """End it. The machine that builds it learns of it by the scheduler, and ends its worker process."""
        self._cancel()
        self._thread.join(5)

    def _cancel(self) -> None:
        self._killed.set()
        if self._task:
            self._task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._result is None:
            self.kill()
        with self._closing:
            os.close(self._wake)
            self._wake = -1

    # messages

    def say(self, event: Event) -> None:
        """Pass an event to the scheduler of the run. Any thread can call it."""
        self._events.put(event)
        with self._closing:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def hear(self, message: Message) -> None:
        """Take a message of the machine that builds it."""
        match message.kind:
            case kind if kind == BEGUN:
                self._begun = True
            case kind if kind == LOG:
                self._log(message.text)
            case kind if kind == EVENT:
                with contextlib.suppress(ValueError, KeyError):
                    event = Event.from_json(message.text)
                    if getattr(event, "node", None) == self.job.node.id and not isinstance(event, NodeFinished):
                        self.say(event)

    def _log(self, text: str) -> None:
        self._tail.extend(text.splitlines()[-_EVIDENCE:])
        with contextlib.suppress(OSError), self.job.log.open("a", encoding="utf-8") as log:
            log.write(text)

    # the thread

    def _run(self) -> None:
        try:
            result = self._follow()
        except StagewrightError as error:
            result = self._failed(error)
        except Exception as problem:  # noqa: BLE001  the run reports it
            defect = StagewrightError(Reason.BUG, f"internal error: {problem!r}", hint="please report this")
            result = self._failed(defect)
        self._result = result
        with self._closing:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _failed(self, error: StagewrightError) -> NodeFinished:
        error = self._stopped or error
        seconds = time.monotonic() - self._started
        return NodeFinished(node=self.job.node.id, status=Status.FAILED, seconds=seconds, error=error.to_dict())

    def _follow(self) -> NodeFinished:
        self.farm.prepare(self)
        number = 0
        while not self._killed.is_set():
            number += 1
            try:
                reply = self._reply(number)
            except Lost:
                self._note_loss()
            else:
                if reply is None:
                    break
                if reply.finished and not _is_of_machine(reply.finished):
                    return self._accepted(reply)
                self._note_refusal(reply)
            try:
                self._move()
            except StagewrightError:
                if self._unfit is None:
                    raise
                return self._unfit  # the cause, rather than that no other machine is left
        return NodeFinished(node=self.job.node.id, status=Status.INTERRUPTED)

    def _reply(self, number: int) -> BuildReply | None:
        self._begun = False
        self._task = task = self.farm.send(self, number)
        while not self._killed.is_set():
            if reply := task.reply(0.5):
                return reply
        task.cancel()
        return None

    def _note_loss(self) -> None:
        """Note that a machine was lost. Raises: FARM if it is one too many."""
        node, machine = self.job.node.id, self.site.machine.name
        self.avoid.add(self.site.address)
        if self._begun:
            self._lost.append(f"{machine}, {time.monotonic() - self._started:.0f} seconds after the start of the node")
        if len(self._lost) >= DEATHS:
            what = f"{len(self._lost)} machines were lost while they built it"
            detail = "\n".join([*self._lost, "the end of its log:", *self._tail])
            raise StagewrightError(Reason.FARM, what, detail=detail, hint="look at the journals of these machines")
        self.say(NodeNotice(node=node, text=f"machine {machine} was lost, so another one builds it"))

    def _note_refusal(self, reply: BuildReply) -> None:
        """Note why a machine did not build it: it refused, or it lacks something, such as room on its disk."""
        why = reply.refused
        if reply.finished and reply.finished.error:
            why, self._unfit = str(reply.finished.error["message"]), self._accepted(reply)
        self.avoid.add(self.site.address)
        self._refused[self.site.address] = f"{self.site.machine.name}: {why}"
        self.say(NodeNotice(node=self.job.node.id, text=f"machine {self._refused[self.site.address]}"))

    @property
    def refusals(self) -> dict[str, str]:
        """Reasons of the machines that refused to build it, by address."""
        return self._refused

    def _move(self) -> None:
        waits = False
        while not self._killed.is_set() and not self.farm.move(self):
            if not waits:
                self.say(NodePhase(node=self.job.node.id, phase="wait"))
                waits = True
            self._killed.wait(0.3)
        if not self._killed.is_set():
            self.say(NodeMoved(node=self.job.node.id, machine=self.site.machine.name))

    def _accepted(self, reply: BuildReply) -> NodeFinished:
        assert reply.finished
        finished = replace(reply.finished, node=self.job.node.id)  # a node of the same key can have shared the task
        if finished.status in (Status.BUILT, Status.CACHED):
            self.farm.accept(self, reply)
            return finished
        if finished.error:
            where = f"machine {self.site.machine.name} built it" + (
                f"; its log there is {reply.log}" if reply.log else ""
            )
            where += f", its root {reply.root}" if reply.root else ""
            hint = NEXT_HINT.join(filter(None, [finished.error.get("hint", ""), where]))
            finished = replace(finished, error={**finished.error, "hint": hint}, machine_root=reply.root)
        return finished


def _is_of_machine(finished: NodeFinished) -> bool:
    """Return True for a failure whose cause is the machine, such as a full disk: another one can build the node."""
    error = finished.error or {}
    return Reason(error["reason"]).exit in (Exit.HOST, Exit.STORE) if "reason" in error else False
