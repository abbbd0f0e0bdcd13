"""The part of a farm's worker that builds nodes: inputs from the shared store, a worker process, the result back.

It does not know Dask: its caller passes on what it says, and ends a node by :meth:`Host.cancel`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stagewright import ids
from stagewright.engine.doctor import missing_of
from stagewright.engine.farm.files import PackedFile, take
from stagewright.engine.farm.machines import Machine
from stagewright.engine.farm.shared import Shared
from stagewright.engine.farm.wire import BEGUN, EVENT, LOG, PART, BuildReply, BuildRequest, Message
from stagewright.engine.folders_of_tests import with_kept_paths
from stagewright.engine.job import Job
from stagewright.engine.limits import DiskWatch
from stagewright.engine.token_pool import TokenPool
from stagewright.engine.worker import disk_error
from stagewright.engine.worker_process import Worker, is_forked
from stagewright.engine.worker_server import WorkerServer
from stagewright.errors import Reason, StagewrightError, internal_error
from stagewright.events import Event, NodeFinished, NodePhase, Status
from stagewright.graph.code_digest import code_digest
from stagewright.kinds.common.work import Grant
from stagewright.kinds.registry import by_kind
from stagewright.portage.confdir import MEMORY_PER_JOB
from stagewright.remote.remote import ALTERED
from stagewright.store.digest_cache import DigestCache
from stagewright.store.in_use import in_use
from stagewright.store.store import Store
from stagewright.trees import remove_tree

PAUSE = 0.2
"""The most seconds between two looks at a running node."""

Send = Callable[[Message], None]


class Cancelled(Exception):  # noqa: N818  it is not an error
    """The run that asked for the node does not need it any more."""


@dataclass
class _Building:
    """A node that is built now: its place in the store, and a flag that ends it."""

    node: str
    started: float = field(default_factory=time.time)
    cores: int = 0
    memory: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass
class Host:
    """Builds nodes on this machine, in threads of its caller. ``server`` forks the worker processes.

    ``pool`` divides the cores of the machine among the nodes that compile, whichever runs they belong to.
    """

    machine: Machine
    store: Store
    shared: Shared
    server: WorkerServer | None = None
    pool: TokenPool = field(init=False)
    _others: int = 0
    _building: dict[str, _Building] = field(default_factory=dict)
    _running: dict[Path, Worker] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pool = TokenPool(max(1, min(self.machine.cores, self.machine.memory // MEMORY_PER_JOB)))
        self._disk = DiskWatch(self.store.path)

    @property
    def busy(self) -> bool:
        """True while a node is built."""
        return bool(self._building)

    def load(self) -> dict[str, Any]:
        """Return what is built now: cores and memory (MiB) by attempt."""
        return {name: [one.cores, one.memory] for name, one in list(self._building.items())}

    def cancel(self, name: str) -> None:
        """End an attempt, if it runs. Its thread sees to it."""
        if one := self._building.get(name):
            one.cancelled.set()

    def cancel_all(self) -> None:
        """End all attempts."""
        for name in list(self._building):
            self.cancel(name)

    def build(self, text: str, send: Send) -> str:
        """Carry out a request (:class:`BuildRequest`), and return the reply. Never raises an error of a build."""
        request = BuildRequest.from_json(text)
        grant = request.job["grant"]
        building = _Building(request.job["node"]["id"], cores=grant["cores"], memory=grant["memory"])
        self._building[request.attempt] = building
        try:
            return self._build(request, building, send).to_json()
        except Cancelled:
            return BuildReply(refused="cancelled").to_json()
        except Exception as problem:  # noqa: BLE001  the reply has it
            if isinstance(problem, StagewrightError) and problem.reason in ALTERED:  # only the remote raises these
                return BuildReply(refused=self._altered(problem)).to_json()
            return _failed(building.node, problem).to_json()
        finally:
            del self._building[request.attempt]

    def _build(self, request: BuildRequest, building: _Building, send: Send) -> BuildReply:
        job = self._job(request, {})
        if why := self._refusal(job):
            return BuildReply(refused=why)

        def report(event: Event) -> None:
            send(Message(request.attempt, EVENT, event.to_json()))

        send(Message(request.attempt, BEGUN))
        yields, key = job.node.yields, job.key.digest
        keys = [key, *(one for _, one in job.inputs.values())]
        with in_use(self.store, keys), self._locked(key, building):
            if there := self._there(job, report):
                return there
            report(NodePhase(node=job.node.id, phase="pull"))
            for role, (kind, digest) in job.inputs.items():
                _stop_if(building)
                if not self.shared.pull(kind, digest):
                    what = f"{job.node.id}: its input {role} is not in the shared store ({digest[:12]})"
                    raise StagewrightError(Reason.NOT_FOUND, what, hint="run the same command again")
            job = self._job(request, {path: self._take(one, building) for path, one in request.files.items()})
            if problems := list(missing_of(job.node)):
                return BuildReply(refused="; ".join(str(problem.message) for problem in problems))
            finished, root = self._attempt(job, building, send, request.attempt)
            if finished.status is not Status.BUILT:
                return BuildReply(finished, log=str(job.log), root=root)
            report(NodePhase(node=job.node.id, phase="push"))
            self.shared.push(yields, key)
            return BuildReply(finished, asdict(self.store.meta(yields, key)), log=str(job.log))

    def _altered(self, error: StagewrightError) -> str:
        """Return why a node cannot be built here, with the way to whole data (docs/decisions/062)."""
        remedy = f"stagewright store verify {self.shared.remote.name} --remove"
        why = f"altered data came from the shared store ({error.message})"
        return f"{why}; if other machines report this, too, {remedy} removes it, and the next build makes it again"

    def _take(self, packed: PackedFile, building: _Building) -> Path:
        _stop_if(building)
        return take(self.shared, packed)

    def _job(self, request: BuildRequest, files: Mapping[str, Path]) -> Job:
        node = request.job["node"]["id"]
        folder = self.store.log_folder("farm", node)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{request.attempt[-12:]}.log"
        machine = self.machine
        return request.placed(self.store.path, log, files, machine.cores, machine.memory, ids.mark())

    def _refusal(self, job: Job) -> str:
        """Return why this machine must not build a job, or an empty string."""
        with DigestCache(self.store.memory("digests.db")) as digest:
            code = code_digest(type(job.stage).__module__, digest.recall)
        if job.key.data["code"] != code:
            return f"another Stagewright ({self.machine.version}: other code of the kind {job.node.kind})"
        for program, version in job.key.data["tools"].items():
            if self.machine.programs.get(program, version) != version:
                return f"{program} {self.machine.programs[program]} (the key has {version})"
        return ""

    @contextlib.contextmanager
    def _locked(self, key: str, building: _Building) -> Iterator[None]:
        """Hold the lock of a key; another program on this machine may build it now."""
        while True:
            _stop_if(building)
            with self.store.locked(key) as held:
                if held:
                    yield
                    return
            time.sleep(PAUSE)

    def _there(self, job: Job, report: Callable[[Event], None]) -> BuildReply | None:
        """Reply that a result is there already: another user built it. Return None if it is not there."""
        yields, key = job.node.yields, job.key.digest
        if self.store.has(yields, key):
            report(NodePhase(node=job.node.id, phase="pull"))
            self.shared.push(yields, key)
        elif self.shared.has(yields, key):
            report(NodePhase(node=job.node.id, phase="pull"))
            if not self.shared.pull(yields, key, held=True):  # it was removed
                return None
        else:
            return None
        meta = self.store.meta(yields, key)
        finished = NodeFinished(node=job.node.id, status=Status.CACHED, size=meta.size)
        return BuildReply(finished, asdict(meta), cached=True)

    def _attempt(self, job: Job, building: _Building, send: Send, attempt: str) -> tuple[NodeFinished, str]:
        """Run a worker process. Return its end, and the path of the root that a failed build leaves."""
        folder = self.store.new_work(job.key.digest)
        server = self.server if self.server and is_forked(by_kind()[job.node.kind]) else None
        with (
            self._tokens(job, folder) as granted,
            Worker.start(granted, folder, server=server) as worker,
            self._watched(worker),
        ):
            log = _LogTail(job.log, lambda text: send(Message(attempt, LOG, text)))
            while not worker.ended:
                worker.wait(PAUSE)
                for event in worker.events():
                    send(Message(attempt, EVENT, event.to_json()))
                log.send()
                self._enforce(worker)
                if building.cancelled.is_set():
                    break
            for event in worker.events():
                send(Message(attempt, EVENT, event.to_json()))
            cancelled = building.cancelled.is_set()
            finished = NodeFinished(node=job.node.id, status=Status.INTERRUPTED) if cancelled else worker.outcome()
            log.send()
        if cancelled or finished.status is Status.BUILT:
            remove_tree(folder)
            _stop_if(building)
            self.store.discard_failed("farm", job.node.id)
            return finished, ""
        kept = self.store.failed("farm", job.node.id)
        finished = with_kept_paths(finished, folder, kept)
        return finished, str(kept) if self.store.keep_failed(folder, "farm", job.node.id) else ""

    @contextlib.contextmanager
    def _tokens(self, job: Job, folder: Path) -> Iterator[Job]:
        """Give a node that compiles all cores of the machine, with tokens for its jobs; count the cores of others."""
        if not job.node.demand.compiles:
            with self._counted(job.grant.cores):
                yield job
            return
        self.pool.add(folder)
        try:
            yield job.model_copy(update={"grant": Grant(self.machine.cores, job.grant.memory)})
        finally:
            self.pool.remove(folder)

    @contextlib.contextmanager
    def _counted(self, cores: int) -> Iterator[None]:
        with self._lock:
            self._others += cores
            self.pool.use(self._others)
        try:
            yield
        finally:
            with self._lock:
                self._others -= cores
                self.pool.use(self._others)

    @contextlib.contextmanager
    def _watched(self, worker: Worker) -> Iterator[None]:
        """Have the files of a worker counted for the length of a block. The worker must not be closed before its end.

        Any thread can stop the worker of another one: the node with the most files ends if the disk is full.
        """
        with self._lock:
            self._running[worker.folder] = worker
        try:
            yield
        finally:
            with self._lock:
                del self._running[worker.folder]

    def _enforce(self, worker: Worker) -> None:
        """End the workers that exceed a limit of the disk, and this one if its time is over."""
        with self._lock:
            limits = {folder: one.job.limits for folder, one in self._running.items()}
            for folder, error in self._disk.look(limits).items():
                if not self._running[folder].stopped:
                    self._running[folder].stop(error)
        worker.enforce()


@dataclass
class _LogTail:
    """Sends what was added to a file since the last look, at most 64 KiB at a time."""

    path: Path
    say: Callable[[str], None]
    _at: int = 0

    def send(self) -> None:
        """Send all that was added."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as stream:
            stream.seek(self._at)
            while data := stream.read(PART):
                self._at += len(data)
                self.say(data.decode("utf-8", errors="replace"))


def _stop_if(building: _Building) -> None:
    if building.cancelled.is_set():
        raise Cancelled


def _failed(node: str, problem: Exception) -> BuildReply:
    error = problem if isinstance(problem, StagewrightError) else disk_error(problem) or internal_error(problem)
    return BuildReply(NodeFinished(node=node, status=Status.FAILED, error=error.to_dict()))
