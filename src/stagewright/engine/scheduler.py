"""The scheduler: starts the nodes of a plan when their inputs are there and the machine has room, and watches them.

All state lies in the store: a scheduler that is killed loses nothing but the nodes that were half done. Two runs on one
store cooperate by the lock of each key: what another run builds is waited for, and everything else goes on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.engine.job import Job
from stagewright.engine.lineage import lineage
from stagewright.engine.plan import Plan, State
from stagewright.engine.worker_process import Worker
from stagewright.errors import StagewrightError
from stagewright.events import (
    Event,
    Listener,
    NodeFinished,
    NodeNotice,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Status,
)
from stagewright.graph.node import Node
from stagewright.kinds.common.work import Grant
from stagewright.store.store import Store, remove_tree

TICK = 0.2
"""Seconds between looks at locks that other runs hold."""


@dataclass(frozen=True)
class Resources:
    """What the nodes of a run may use together: cores, and memory in MiB; and how many of them run at a time."""

    cores: int
    memory: int
    jobs: int | None = None

    @classmethod
    def of_machine(cls) -> Resources:
        """All cores that this process may use, and nine tenths of the memory that is free."""
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        free = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemAvailable"))
        return cls(len(os.sched_getaffinity(0)), free * 9 // 10 // 1024)

    def limited(self, cores: int | None, memory: int | None, jobs: int | None = None) -> Resources:
        """The same with other limits where they are given."""
        return Resources(cores or self.cores, memory or self.memory, jobs or self.jobs)


@dataclass
class _Running:
    worker: Worker
    node: Node
    cores: int
    release: contextlib.ExitStack


@dataclass
class Outcome:
    """How a run ended: each node's status, and the errors of those that failed."""

    statuses: dict[str, Status] = field(default_factory=dict)
    errors: dict[str, StagewrightError] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def status(self) -> Status:
        """The run as a whole."""
        if self.interrupted:
            return Status.INTERRUPTED
        return Status.FAILED if self.errors else Status.BUILT


class Scheduler:
    """Carries out one plan. Make one, call :meth:`run`."""

    def __init__(
        self, plan: Plan, store: Store, resources: Resources, listeners: Sequence[Listener], *, keep_going: bool = False
    ) -> None:
        self.plan = plan
        self.store = store
        self.resources = resources
        self.keep_going = keep_going
        self.run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
        self._listeners = listeners
        self._pending = {step.node.id: step.node for step in plan.to_build}
        self._running: dict[str, _Running] = {}
        self._waiting: set[str] = set()
        self._outcome = Outcome()
        self._selector = selectors.DefaultSelector()

    def run(self) -> Outcome:
        """Build everything; returns when all is done, something failed, or a signal asked to stop."""
        started = time.monotonic()
        cached = sum(step.state is State.CACHED for step in self.plan.steps.values())
        names = list(self._pending)
        self._emit(RunStarted(run=self.run_id, project=self.plan.project.info.name, nodes=names, cached=cached))
        with self._signals():
            try:
                while (self._pending or self._running) and not self._outcome.interrupted:
                    self._start_ready()
                    self._watch()
            finally:
                self._stop_all()
        seconds = time.monotonic() - started
        self._emit(RunFinished(run=self.run_id, status=self._outcome.status, seconds=seconds))
        return self._outcome

    # starting

    def _start_ready(self) -> None:
        self._skip_hopeless()
        ready = [node for node in self._pending.values() if self._is_ready(node)]
        for number, node in enumerate(ready):
            if self._fits(node):
                self._start(node, others=len(ready) - number - 1)

    def _is_ready(self, node: Node) -> bool:
        return not any(source in self._pending or source in self._running for source in node.inputs.values())

    def _skip_hopeless(self) -> None:
        """Give up nodes whose inputs failed, and after a failure all that have not begun unless asked to keep going."""
        stop = bool(self._outcome.errors) and not self.keep_going
        bad = (Status.FAILED, Status.SKIPPED)
        for node in list(self._pending.values()):
            if stop or any(self._outcome.statuses.get(source) in bad for source in node.inputs.values()):
                del self._pending[node.id]
                self._waiting.discard(node.id)
                self._finish(NodeFinished(node=node.id, status=Status.SKIPPED))

    def _fits(self, node: Node) -> bool:
        if not self._running:
            return True
        used = sum(running.cores for running in self._running.values())
        memory = sum(running.node.demand.memory for running in self._running.values())
        taken = {running.node.demand.exclusive for running in self._running.values()} - {""}
        return (
            (self.resources.jobs is None or len(self._running) < self.resources.jobs)
            and used + min(node.demand.cores, self.resources.cores) <= self.resources.cores
            and memory + node.demand.memory <= self.resources.memory
            and node.demand.exclusive not in taken
        )

    def _start(self, node: Node, others: int) -> None:
        key = self.plan.steps[node.id].key
        release = contextlib.ExitStack()
        if not release.enter_context(self.store.locked(key.digest)):
            release.close()
            if node.id not in self._waiting:
                self._waiting.add(node.id)
                self._emit(NodeWaiting(node=node.id))
            return
        self._waiting.discard(node.id)
        del self._pending[node.id]
        if self.store.has(node.yields, key.digest):  # another run made it meanwhile
            release.close()
            self._finish(NodeFinished(node=node.id, status=Status.CACHED))
            return
        used = sum(running.cores for running in self._running.values())
        spare = self.resources.cores - used - others
        cores = max(1, min(node.demand.cores, self.resources.cores), spare)
        log = self.store.log_folder(self.plan.project.info.name, node.id) / f"{self.run_id}.log"
        memory = max(node.demand.memory, self.resources.memory * cores // self.resources.cores)
        job = Job(
            project=self.plan.project.info.name,
            node=node,
            key=key,
            inputs=self.plan.inputs_of(node),
            grant=Grant(cores, memory),
            store=self.store.path,
            log=log,
            lineage=lineage(self.plan, self.store, node.id),
        )
        worker = Worker.start(job, self.store.new_work(key.digest))
        self._running[node.id] = _Running(worker, node, min(node.demand.cores, self.resources.cores), release)
        self._selector.register(worker, selectors.EVENT_READ, node.id)
        self._emit(NodeStarted(node=node.id, kind=node.kind, key=key.digest, log=str(log)))

    # watching

    def _watch(self) -> None:
        for ready, _ in self._selector.select(TICK):
            if isinstance(ready.data, str):
                running = self._running[ready.data]
                for event in running.worker.events():
                    self._emit(event)
            else:
                os.read(ready.fd, 1024)  # a signal came
        for name, running in list(self._running.items()):
            if running.worker.ended:
                self._end(name, running)

    def _end(self, name: str, running: _Running) -> None:
        self._selector.unregister(running.worker)
        for event in running.worker.events():
            self._emit(event)
        result = running.worker.outcome()
        project = self.plan.project.info.name
        if result.status is Status.BUILT:
            self.store.remember(project, name, self.plan.steps[name].key.data)
            remove_tree(running.worker.folder)
            if not self.store.discard_failed(project, name):
                self._emit(NodeNotice(node=name, text="a shell is open in the root of a failed build, which stays"))
        elif not self.store.keep_failed(running.worker.folder, project, name):
            text = "its root is not kept, because a shell is open in the root of an earlier failed build"
            self._emit(NodeNotice(node=name, text=text))
        self._release(name, running)
        self._finish(result)

    def _release(self, name: str, running: _Running) -> None:
        running.worker.close()
        running.release.close()
        del self._running[name]

    def _finish(self, result: NodeFinished) -> None:
        self._outcome.statuses[result.node] = result.status
        if result.error:
            self._outcome.errors[result.node] = StagewrightError.from_dict(result.error)
        self._emit(result)

    def _stop_all(self) -> None:
        """Kill what still runs; the next run sweeps what it leaves."""
        for name, running in list(self._running.items()):
            running.worker.kill()
            self._selector.unregister(running.worker)
            self._release(name, running)
            if self._outcome.interrupted:
                self._finish(NodeFinished(node=name, status=Status.INTERRUPTED))
        self._selector.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop."""

        def stop(number: int, frame: object) -> None:
            self._outcome.interrupted = True

        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(reader, selectors.EVENT_READ)
        woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in old.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
