"""The scheduler: starts the nodes of a plan when their inputs are built and the machine has room, and watches them.

All state is in the store. A scheduler that is killed loses only the nodes that were being built. Runs on the same store
cooperate by the lock of each key: a run waits for a node that another run builds, and continues with all others.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.engine.folders_of_tests import with_kept_paths
from stagewright.engine.job import Job, limits_of
from stagewright.engine.limits import DiskWatch
from stagewright.engine.lineage import lineage
from stagewright.engine.plan import Plan, State, Step
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.engine.resources import Resources
from stagewright.engine.work_folders import Release, WorkFolders
from stagewright.engine.worker import disk_error
from stagewright.engine.worker_process import Worker
from stagewright.errors import Reason, StagewrightError
from stagewright.events import (
    Listener,
    Listeners,
    NodeFinished,
    NodeNotice,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Status,
)
from stagewright.graph.node import Demand, Node
from stagewright.ids import mark
from stagewright.kinds.common.work import Grant
from stagewright.project.limits import NodeLimits
from stagewright.store.store import Store

TICK = 0.2
"""Seconds between two looks at the locks that other runs hold."""


StartBuild = Callable[[Job, Path], Worker]
"""Starts the worker that builds the node of a job, in a work folder."""

Judge = Callable[[Step], tuple[list[str], StagewrightError | None]]
"""Returns the remarks about a result, and the error if it does not count as passed."""


@dataclass
class _Running:
    """A node with a worker. Closing ``release`` kills the worker; ``unlock`` then releases the lock of the key.

    ``too_large`` is True if the engine has ended the worker because of the disk.
    """

    worker: Worker
    node: Node
    cores: int
    release: contextlib.ExitStack
    unlock: Release
    too_large: bool = False


@dataclass
class Outcome:
    """The result of a run: the status of each node, and the errors of failed nodes."""

    statuses: dict[str, Status] = field(default_factory=dict)
    errors: dict[str, StagewrightError] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def status(self) -> Status:
        """The status of the whole run."""
        if self.interrupted:
            return Status.INTERRUPTED
        return Status.FAILED if self.errors else Status.BUILT


class Scheduler:
    """Carries out one plan. :meth:`run` can be called once.

    A listener that raises is dropped, see :class:`Listeners`. ``launch`` starts the workers. ``judge`` returns the
    remarks and the error about a result that was built (engine/console_verdict.py). ``refused`` are the errors about
    results in the store: nodes that need these are skipped.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        resources: Resources,
        listeners: Sequence[Listener],
        *,
        keep_going: bool = False,
        limits: NodeLimits | None = None,
        launch: StartBuild = Worker.start,
        judge: Judge = lambda step: ([], None),
        refused: Mapping[str, StagewrightError] | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.resources = resources
        self.keep_going = keep_going
        self.run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
        self._limits = limits
        self._disk = DiskWatch(store.path)
        self._listeners = listeners
        self._emit = Listeners()
        self._launch = launch
        self._judge = judge
        self._refused = dict(refused or {})
        self._names = [step.node.id for step in plan.to_build]
        self._nodes = ReadyNodes(
            (step.node for step in plan.to_build), store.seconds_of(plan.project.records, self._names)
        )
        self._running: dict[str, _Running] = {}
        self._waiting: set[str] = set()
        self._folders = WorkFolders(store, plan.project.records)
        self._outcome = Outcome()
        self._selector = selectors.DefaultSelector()

    def run(self) -> Outcome:
        """Build everything. Return when all is done, something failed, or a signal asked to stop.

        Each RunStarted is followed by a RunFinished, also if this raises.
        """
        self._emit = Listeners(*self._listeners)
        started, status = time.monotonic(), Status.FAILED
        cached = sum(step.state is State.CACHED for step in self.plan.steps.values())
        self._emit(self._started(cached))
        try:
            for name, error in self._refused.items():
                self._finish(NodeFinished(node=name, status=Status.FAILED, error=error.to_dict()))
            self._loop()
            status = self._outcome.status
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
            raise
        except OSError as error:
            if problem := self._store_error(error):
                raise problem from error
            raise
        finally:
            self._emit(RunFinished(run=self.run_id, status=status, seconds=time.monotonic() - started))
        return self._outcome

    def _started(self, cached: int) -> RunStarted:
        steps = self.plan.steps
        return RunStarted(
            run=self.run_id,
            project=self.plan.project.info.name,
            nodes=self._names,
            cached=cached,
            folder=str(self.plan.project.folder),
            records=self.plan.project.records,
            inputs={name: sorted(set(step.node.inputs.values())) for name, step in steps.items()},
            changed={name: [one.entry for one in step.why] for name, step in steps.items() if step.why},
        )

    def _store_error(self, error: OSError) -> StagewrightError | None:
        """Return the error of the store that an OSError stands for, or None."""
        if (self.store.path / "format").exists():
            return disk_error(error)
        return StagewrightError(Reason.STORE_FAILED, f"{self.store.path}: the store was moved or removed")

    def _loop(self) -> None:
        """Start and watch workers until nothing is left to do; on every way out no worker is left."""
        with self._selector, self._signals():
            try:
                while (self._nodes or self._running) and not self._outcome.interrupted:
                    self._start_ready()
                    self._watch()
                if not self._outcome.interrupted:
                    self._folders.finish()
                    self._emit_notices()
            finally:
                self._stop_all()

    # starting

    def _start_ready(self) -> None:
        self._skip_hopeless()
        locked = []
        while node := self._nodes.take(self._fits):
            if not self._start(node):
                locked.append(node)
        for node in locked:
            self._nodes.put_back(node)

    def _skip_hopeless(self) -> None:
        """Skip nodes whose inputs failed and, after a failure without ``keep_going``, all that have not started."""
        stop = bool(self._outcome.errors) and not self.keep_going
        for name in self._nodes.remove_all() if stop else self._nodes.remove_hopeless():
            self._waiting.discard(name)
            self._finish(NodeFinished(node=name, status=Status.SKIPPED))

    def _fits(self, demand: Demand) -> bool:
        if not self._running:
            return True
        used = sum(running.cores for running in self._running.values())
        memory = sum(running.node.demand.memory for running in self._running.values())
        taken = {running.node.demand.exclusive for running in self._running.values()} - {""}
        return (
            (self.resources.jobs is None or len(self._running) < self.resources.jobs)
            and used + min(demand.cores, self.resources.cores) <= self.resources.cores
            and memory + demand.memory <= self.resources.memory
            and demand.exclusive not in taken
        )

    def _start(self, node: Node) -> bool:
        """Start a node, unless another run has built it. Return False if another run builds it now."""
        key = self.plan.steps[node.id].key
        with contextlib.ExitStack() as lock, contextlib.ExitStack() as release:
            if not lock.enter_context(self.store.locked(key.digest)):
                if node.id not in self._waiting:
                    self._waiting.add(node.id)
                    self._emit(NodeWaiting(node=node.id))
                return False
            self._waiting.discard(node.id)
            if self.store.has(node.yields, key.digest):  # another run built it meanwhile
                self._finish(self._judged(NodeFinished(node=node.id, status=Status.CACHED)))
                return True
            job = self._job(node)
            worker = release.enter_context(self._launch(job, self.store.new_work(key.digest)))
            release.callback(self._unwatch, *worker.descriptors())
            for descriptor in worker.descriptors():
                self._selector.register(descriptor, selectors.EVENT_READ, node.id)
            accounted = min(node.demand.cores, self.resources.cores)
            self._running[node.id] = _Running(worker, node, accounted, release.pop_all(), lock.pop_all().close)
        self._emit(NodeStarted(node=node.id, kind=node.kind, key=key.digest, log=str(job.log)))
        return True

    def _job(self, node: Node) -> Job:
        """Return the job of a node that starts now, with the cores that running and ready nodes leave (``Demand``)."""
        if node.demand.compiles:
            granted = [one.worker.job for one in self._running.values()]
            spare = self.resources.cores - sum(job.grant.cores for job in granted if job.node.demand.compiles)
            spare -= self._nodes.compiling
        else:
            spare = self.resources.cores - sum(one.cores for one in self._running.values()) - self._nodes.ready
        cores = max(1, min(node.demand.cores, self.resources.cores), spare)
        memory = max(node.demand.memory, self.resources.memory * cores // self.resources.cores)
        return Job(
            project=self.plan.project.info.name,
            project_folder=self.plan.project.folder.resolve(),
            node=node,
            key=self.plan.steps[node.id].key,
            inputs=self.plan.inputs_of(node),
            grant=Grant(cores, memory),
            limits=limits_of(node, self.plan.project, self._limits),
            store=self.store.path,
            log=self.store.log_folder(self.plan.project.records, node.id) / f"{self.run_id}.log",
            lineage=lineage(self.plan, self.store, node.id),
            ids=mark(),
        )

    # watching

    def _watch(self) -> None:
        """Wait for events, ends of workers and signals, at most ``TICK`` seconds, and handle them."""
        for ready, _ in self._selector.select(TICK):
            if ready.data is None:
                os.read(ready.fd, 1024)  # a signal came
            elif ready.data in self._running:
                running = self._running[ready.data]
                self._pass_on_events(running)
                if ready.fd in running.worker.ends():  # it stays readable, and select would return at once
                    self._unwatch(ready.fd)
        self._enforce_limits()
        for name, running in list(self._running.items()):
            if running.worker.ended:
                self._end(name, running)

    def _enforce_limits(self) -> None:
        """End the workers that exceed a limit which the kernel does not know."""
        nodes = {running.worker.folder: running for running in self._running.values()}
        for folder, error in self._disk.look({name: one.worker.job.limits for name, one in nodes.items()}).items():
            if not nodes[folder].worker.stopped:
                nodes[folder].too_large = True
                nodes[folder].worker.stop(error)
        for node in nodes.values():
            node.worker.enforce()

    def _pass_on_events(self, running: _Running) -> None:
        for event in running.worker.events():
            self._emit(event)
        if running.worker.silent:  # else the selector would return at once until the worker has ended
            self._unwatch(running.worker.fileno())

    def _unwatch(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            with contextlib.suppress(KeyError):  # it was done before
                self._selector.unregister(descriptor)

    def _end(self, name: str, running: _Running) -> None:
        """Record the result of a worker that has ended."""
        self._pass_on_events(running)
        result = running.worker.outcome()
        project = self.plan.project.records
        if result.status is Status.BUILT:
            self.store.remember(project, name, self.plan.steps[name].key.data, result.seconds)
        full = running.too_large or (result.error or {}).get("reason") == Reason.DISK_FULL
        folder = running.worker.folder
        self._running.pop(name).release.close()
        self._folders.put_away(name, folder, result.status, running.unlock, full=full)
        self._emit_notices()
        self._finish(self._judged(with_kept_paths(result, folder, self.store.failed(project, name))))

    def _emit_notices(self) -> None:
        while not self._folders.notices.empty():
            name, text = self._folders.notices.get()
            self._emit(NodeNotice(node=name, text=text))

    def _judged(self, result: NodeFinished) -> NodeFinished:
        """Return the end of a node, failed if its result is there but its console has errors."""
        if result.status not in (Status.BUILT, Status.CACHED):
            return result
        remarks, error = self._judge(self.plan.steps[result.node])
        for remark in remarks:
            self._emit(NodeNotice(node=result.node, text=remark))
        return replace(result, status=Status.FAILED, error=error.to_dict()) if error else result

    def _release(self, name: str) -> None:
        """Forget a worker, which is killed if it still runs, and release the lock of its key."""
        running = self._running.pop(name)
        running.release.close()
        running.unlock()

    def _finish(self, result: NodeFinished) -> None:
        self._outcome.statuses[result.node] = result.status
        if result.status in (Status.BUILT, Status.CACHED):
            self._nodes.built(result.node)
        elif result.status is Status.FAILED:
            self._nodes.failed(result.node)
        if result.error:
            self._outcome.errors[result.node] = StagewrightError.from_dict(result.error)
        self._emit(result)

    def _stop_all(self) -> None:
        """Kill the workers that still run. The next run removes what they leave."""
        for running in self._running.values():
            running.worker.kill()
        for name in list(self._running):
            self._release(name)
            if self._outcome.interrupted:
                self._finish(NodeFinished(node=name, status=Status.INTERRUPTED))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn Ctrl-C, SIGTERM and SIGHUP into a clean stop. Only the main thread of a program can do so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            self._outcome.interrupted = True

        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(reader, selectors.EVENT_READ)
        woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            self._selector.unregister(reader)
            signal.set_wakeup_fd(woken)
            for number, handler in old.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)
