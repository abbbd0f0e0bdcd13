"""The scheduler: starts the nodes of a plan when their inputs are built and there is room, and watches them.

Where they are built is the matter of an executor (engine/executor.py).

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

from stagewright.engine.executor import Attempt, Executor, Placement
from stagewright.engine.folders_of_tests import with_kept_paths
from stagewright.engine.job import Job, limits_of
from stagewright.engine.lineage import lineage
from stagewright.engine.plan import Plan, State, Step, is_cut_off
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.engine.work_folders import Release, WorkFolders
from stagewright.engine.worker import disk_error
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
from stagewright.graph.node import Node
from stagewright.ids import mark
from stagewright.project.limits import NodeLimits
from stagewright.store.same_content import adopt, remember_contents
from stagewright.store.store import Store

TICK = 0.2
"""Seconds between two looks at the locks that other runs hold."""


Judge = Callable[[Step], tuple[list[str], StagewrightError | None]]
"""Returns the remarks about a result, and the error if it does not count as passed."""


@dataclass
class _Running:
    """An attempt at a node. Closing ``release`` kills it; ``unlock`` then releases the lock of the key.

    ``too_large`` is True if the engine has ended it because of the disk.
    """

    attempt: Attempt
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

    A listener that raises is dropped, see :class:`Listeners`. ``executor`` builds the nodes. ``judge`` returns the
    remarks and the error about a result that was built (engine/console_verdict.py). ``refused`` are the errors about
    results in the store: nodes that need these are skipped.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        executor: Executor,
        listeners: Sequence[Listener],
        *,
        keep_going: bool = False,
        limits: NodeLimits | None = None,
        judge: Judge = lambda step: ([], None),
        refused: Mapping[str, StagewrightError] | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.keep_going = keep_going
        self.run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
        self._limits = limits
        self._listeners = listeners
        self._emit = Listeners()
        self._executor = executor
        self._judge = judge
        self._refused = dict(refused or {})
        self._names = [step.node.id for step in plan.to_build]
        self._nodes = ReadyNodes(
            (step.node for step in plan.to_build),
            store.seconds_of(plan.project.records, self._names),
            executor.demand,
            executor.at_once([step.node for step in plan.to_build]),
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
        while node := self._nodes.take(self._executor.fits):
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
            if self._executor.meta(self.plan.steps[node.id]):  # another run, or a node with the same key, built it
                self._finish(self._judged(NodeFinished(node=node.id, status=Status.CACHED)))
                return True
            if self._adopt(node):
                return True
            placement = self._executor.place(node, self._nodes)
            job = self._job(node, placement)
            attempt = self._executor.start(job, self.store.new_work(key.digest), placement)
            release.callback(self._executor.forget, attempt)
            release.enter_context(attempt)
            release.callback(self._unwatch, *attempt.descriptors())
            for descriptor in attempt.descriptors():
                self._selector.register(descriptor, selectors.EVENT_READ, node.id)
            self._running[node.id] = _Running(attempt, release.pop_all(), lock.pop_all().close)
        machine = placement.machine
        self._emit(NodeStarted(node=node.id, kind=node.kind, key=key.digest, log=str(job.log), machine=machine))
        return True

    def _adopt(self, node: Node) -> bool:
        """Take a result that was made of inputs with the same contents, if there is one (store/same_content.py)."""
        step = self.plan.steps[node.id]
        if not is_cut_off(node):
            return False
        found = adopt(self.store, node.yields, step.key, self.plan.inputs_of(node), node.id)
        if found:
            self.store.remember(self.plan.project.records, node.id, step.key.data)
            text = f"not built again: its inputs have the same contents as those of {found[:12]}"
            self._emit(NodeNotice(node=node.id, text=text))
            self._finish(NodeFinished(node=node.id, status=Status.CACHED))
        return bool(found)

    def _job(self, node: Node, placement: Placement) -> Job:
        """Return the job of a node that starts now."""
        return Job(
            project=self.plan.project.info.name,
            project_folder=self.plan.project.folder.resolve(),
            node=node,
            key=self.plan.steps[node.id].key,
            inputs=self.plan.inputs_of(node),
            grant=placement.grant,
            limits=limits_of(node, self.plan.project, self._limits),
            store=self.store.path,
            log=self.store.log_folder(self.plan.project.records, node.id) / f"{self.run_id}.log",
            lineage=lineage(self.plan, self._executor.meta, node.id),
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
                if ready.fd in running.attempt.ends():  # it stays readable, and select would return at once
                    self._unwatch(ready.fd)
        self._enforce_limits()
        for name, running in list(self._running.items()):
            if running.attempt.ended:
                self._end(name, running)

    def _enforce_limits(self) -> None:
        too_large = self._executor.enforce()
        for running in self._running.values():
            running.too_large = running.too_large or running.attempt.folder in too_large

    def _pass_on_events(self, running: _Running) -> None:
        for event in running.attempt.events():
            self._emit(event)
        if running.attempt.silent:  # else the selector would return at once until the worker has ended
            self._unwatch(running.attempt.fileno())

    def _unwatch(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            with contextlib.suppress(KeyError):  # it was done before
                self._selector.unregister(descriptor)

    def _end(self, name: str, running: _Running) -> None:
        """Record the result of an attempt that has ended."""
        self._pass_on_events(running)
        result = running.attempt.outcome()
        project = self.plan.project.records
        if result.status is Status.BUILT:
            step = self.plan.steps[name]
            self.store.remember(project, name, step.key.data, result.seconds)
            remember_contents(self.store, step.node.yields, step.key, self.plan.inputs_of(step.node))
        full = running.too_large or (result.error or {}).get("reason") == Reason.DISK_FULL
        folder, has_root = running.attempt.folder, running.attempt.keeps_root
        self._running.pop(name).release.close()
        self._folders.put_away(name, folder, result.status, running.unlock, full=full, has_root=has_root)
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
        """Forget an attempt, which is killed if it still runs, and release the lock of its key."""
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
        """Kill what still runs. The next run removes what it leaves."""
        for running in self._running.values():
            running.attempt.kill()
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
