"""The executor of a farm: Dask carries jobs to machines, this module decides which machine gets which.

Dask's scheduler knows the machines, what they announce, and when one is lost. A job goes to one chosen machine
(``workers=``), with the resources that it takes, so nodes of several users share a machine as they would alone.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future

from stagewright.engine.executor import Attempt, Placement
from stagewright.engine.farm.attempt import FarmAttempt, Lost, Task
from stagewright.engine.farm.files import FilesOut
from stagewright.engine.farm.machines import Machine
from stagewright.engine.farm.needs import FarmDemand, architectures, demand_of, lacks, resources_of
from stagewright.engine.farm.placing import Site, choose
from stagewright.engine.farm.security import security
from stagewright.engine.farm.service import NAME, SETTINGS, build_node
from stagewright.engine.farm.shared import Shared
from stagewright.engine.farm.wire import BuildReply, BuildRequest, Message
from stagewright.engine.job import Job
from stagewright.engine.local import LocalExecutor
from stagewright.engine.plan import Plan, Step
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.engine.resources import Resources
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Demand, Node
from stagewright.store.meta import Meta

LOOK = 0.5
"""Seconds between two looks at the machines."""


_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application")
"""Loggers of Dask. They write tracebacks for a scheduler that is lost, which the run reports itself."""


def _quiet() -> None:
    """Let Dask's loggers print nothing in a program of the user."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False


@contextlib.contextmanager
def connected(url: str, certs: Path | None) -> Iterator[Client]:
    """Yield a client of a farm's scheduler. Raises: FARM if it does not answer."""
    _quiet()
    with dask.config.set(SETTINGS):
        try:
            client = Client(
                url, security=security(url, certs, "client"), timeout=10, set_as_default=False, heartbeat_interval=1000
            )
        except (OSError, TimeoutError) as error:
            hint = "stagewright farm scheduler starts one; stagewright farm machines shows a farm"
            raise StagewrightError(Reason.FARM, f"{url}: no answer ({error})", hint=hint) from error
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=5)


def sites_of(client: Client) -> list[Site]:
    """Return the machines of a farm. Raises OSError or TimeoutError if the scheduler does not answer."""
    # Client.scheduler_info returns what came last, which may be the regular answer without workers.
    workers: Mapping[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return [site for address, worker in workers.items() if (site := _site(address, worker))]


def _site(address: str, worker: Mapping[str, Any]) -> Site | None:
    """Return the machine of a Dask worker; None if it is not one of Stagewright's."""
    announced = worker.get(NAME)
    if not isinstance(announced, dict):
        return None
    try:
        machine = Machine.from_dict(announced["machine"])
    except (KeyError, TypeError):
        return None
    site = Site(address, machine, announced.get("instance", ""), worker.get("status") == "running")
    load = ((worker.get("metrics") or {}).get(NAME) or {}).get("load", {})
    site.load = {name: (cores, memory) for name, (cores, memory) in load.items()}
    return site


@dataclass
class _DaskTask(Task):
    """A node that Dask has sent to a machine."""

    name: str
    future: Future
    farm: FarmExecutor
    site: Site
    ready: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.future.add_done_callback(lambda _: self.ready.set())

    def reply(self, timeout: float) -> BuildReply | None:
        self.ready.wait(timeout)
        if self.future.status == "finished":
            try:
                return BuildReply.from_json(self.future.result(timeout=30))
            except (OSError, TimeoutError) as error:
                raise Lost from error
        if self.future.status == "error":
            self._raise(self.future.exception(timeout=30))
        if self.farm.client.status in ("closed", "closing") or self.future.status in ("cancelled", "lost"):
            raise self.farm.lost_scheduler()
        if not self.farm.is_there(self.site):
            self.cancel()
            raise Lost
        return None

    def _raise(self, problem: BaseException | None) -> None:
        if type(problem).__name__ in ("KilledWorker", "NoValidWorkerError"):
            raise Lost
        what = f"machine {self.site.machine.name}: {type(problem).__name__}: {problem}"
        raise StagewrightError(Reason.FARM, what)

    def cancel(self) -> None:
        with contextlib.suppress(Exception):
            self.future.cancel()


class FarmExecutor:
    """Builds nodes on the machines of a farm, and those that cannot leave this machine by the local executor.

    ``wait`` are the seconds to wait for a machine that can build a node, if none is connected.
    """

    def __init__(self, client: Client, plan: Plan, shared: Shared, local: LocalExecutor, wait: float = 60.0) -> None:
        self.client = client
        self._plan = plan
        self._shared = shared
        self._local = local
        self._wait = wait
        self._files = FilesOut(shared)
        self._archs = architectures(plan.graph, plan.project.info.arch)
        self._demands = {name: demand_of(step.node, step.key, self._archs[name]) for name, step in plan.steps.items()}
        self._kept = self._keys_to_keep()
        self._metas: dict[str, Meta] = {}
        self._sites: dict[str, Site] = {}
        self._placed: dict[str, Site] = {}
        self._attempts: dict[str, FarmAttempt] = {}
        self._tasks: dict[str, FarmAttempt] = {}
        self._unable: dict[FarmDemand, float] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._owner = f"{getpass.getuser()}@{socket.gethostname()}"
        self._silent_since: float | None = None
        self._had: dict[str, set[str]] = {}

    def __enter__(self) -> FarmExecutor:
        self.client.subscribe_topic(self.client.id, self._hear)
        self._look()
        threading.Thread(target=self._keep_looking, name="farm", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(Exception):
            self.client.unsubscribe_topic(self.client.id)

    def _keys_to_keep(self) -> set[str]:
        """Return the keys of results that this machine needs: targets, and inputs of nodes that it builds itself."""
        steps = self._plan.to_build
        here = [step.node for step in steps if self._demands[step.node.id].here]
        names = (*self._plan.sinks, *(source for node in here for source in node.inputs.values()))
        return {self._plan.steps[name].key.digest for name in names}

    # machines

    def _keep_looking(self) -> None:
        while not self._closed.wait(LOOK):
            self._look()

    def _look(self) -> None:
        try:
            found = {site.address: site for site in sites_of(self.client)}
        except Exception:  # noqa: BLE001  Dask raises many; the scheduler may come back
            self._silent_since = self._silent_since or time.monotonic()
            return
        self._silent_since = None
        with self._lock:
            for address, site in found.items():
                known = self._sites.get(address)
                if known and known.instance == site.instance:
                    site.running = known.running
                own = [load for name, load in site.load.items() if name not in self._tasks]
                site.others = (sum(cores for cores, _ in own), sum(memory for _, memory in own))
            self._sites = found

    def is_there(self, site: Site) -> bool:
        """Return True if a machine is connected, by the same process as before."""
        with self._lock:
            now = self._sites.get(site.address)
            return now is not None and now.instance == site.instance

    def lost_scheduler(self) -> StagewrightError:
        """Return the error for a scheduler that is gone."""
        hint = "start it, and run the same command again: it continues with what is finished"
        return StagewrightError(Reason.FARM, "the connection to the scheduler of the farm was lost", hint=hint)

    # the interface of executors

    def at_once(self, nodes: Sequence[Node]) -> int:
        """Return how many nodes the machines that are connected build at once, each by the demands that it can meet."""
        demands = [self._demands[node.id] for node in nodes if not self._demands[node.id].here]
        with self._lock:
            machines = [site.machine for site in self._sites.values()]
        return sum(
            Resources(one.cores, one.memory).at_once([demand for demand in demands if not lacks(one, demand)])
            for one in machines
        )

    def demand(self, node: Node) -> Demand:
        """Return the demand of a node, with what it needs of a machine."""
        return self._demands[node.id]

    def meta(self, step: Step) -> Meta | None:
        """Return the metadata of a result that a machine has built, or that is here."""
        key = step.key.digest
        if key in self._metas:
            return self._metas[key]
        return self._local.meta(step)

    def fits(self, demand: Demand) -> bool:
        """Return True if a machine has room for a node now."""
        assert isinstance(demand, FarmDemand)
        if demand.here:
            return self._local.fits(demand)
        with self._lock:
            sites = list(self._sites.values())
            if any(not lacks(site.machine, demand) for site in sites):
                self._unable.pop(demand, None)
                return any(site.has_room(demand) and not lacks(site.machine, demand) for site in sites)
            self._unable.setdefault(demand, time.monotonic())
            return False

    def place(self, node: Node, waiting: ReadyNodes) -> Placement:
        """Choose the machine of a node that fits, and note that it is taken."""
        demand = self._demands[node.id]
        if demand.here:
            return self._local.place(node, waiting)
        with self._lock:
            site = self._choose(node, ())
            assert site, f"{node.id}: no machine, though one had room"
            grant = site.grant(demand, waiting.ready)
            site.running[node.id] = demand
            self._placed[node.id] = site
            return Placement(grant, site.machine.name)

    def _choose(self, node: Node, avoid: Set[str] | tuple[()]) -> Site | None:
        keys = {source: self._had.get(source, set()) for source in self._sites}
        wanted = {self._plan.steps[source].key.digest for source in node.inputs.values()}
        there = {address: found & wanted for address, found in keys.items()}
        return choose(self._sites.values(), self._demands[node.id], self._archs[node.id], there, avoid)

    def start(self, job: Job, folder: Path, placement: Placement) -> Attempt:
        """Send a job to its machine."""
        if not placement.machine:
            return self._local.start(job, folder, placement)
        attempt = FarmAttempt(self, job, folder, self._placed[job.node.id])
        self._attempts[job.node.id] = attempt
        return attempt.start()

    def forget(self, attempt: Attempt) -> None:
        """Note that an attempt has ended."""
        if not isinstance(attempt, FarmAttempt):
            self._local.forget(attempt)
            return
        with self._lock:
            self._attempts.pop(attempt.job.node.id, None)
            self._free(attempt)

    def _free(self, attempt: FarmAttempt) -> None:
        attempt.site.running.pop(attempt.job.node.id, None)

    def enforce(self) -> Set[Path]:
        """End local attempts that exceed a limit. Raises: FARM if nothing runs, and no machine can build the rest."""
        unable = [demand for demand, since in self._unable.items() if time.monotonic() - since > self._wait]
        if unable and not self._attempts:
            raise self._no_machine(unable[0])
        if self._silent_since and time.monotonic() - self._silent_since > self._wait and not self._attempts:
            raise self.lost_scheduler()
        return self._local.enforce()

    def _no_machine(self, demand: FarmDemand) -> StagewrightError:
        with self._lock:
            found = [f"{site.machine.name}: {', '.join(lacks(site.machine, demand))}" for site in self._sites.values()]
        nodes = [name for name, one in self._demands.items() if one == demand and name not in self._metas]
        what = f"no machine of the farm can build {', '.join(nodes[:3])}" + (" and others" if len(nodes) > 3 else "")
        hint = "stagewright farm machines shows what each machine has; stagewright worker adds one"
        return StagewrightError(Reason.FARM, what, detail="\n".join(found) or "no machine is connected", hint=hint)

    # for attempts

    def prepare(self, attempt: FarmAttempt) -> None:
        """Give the files of a node, and inputs that only this machine has, to the shared store."""
        for yields, key in attempt.job.inputs.values():
            if self._shared.store.has(yields, key):
                self._shared.push(yields, key)
        attempt.files = self._files.give(attempt.job.node)

    def send(self, attempt: FarmAttempt, number: int) -> Task:
        """Send a job to the machine of an attempt."""
        job = attempt.job
        name = f"{NAME}-{job.key.digest}-{number}"
        request = BuildRequest.of(job, attempt.files, self.client.id, name, self._owner)
        with self._lock:
            self._tasks[name] = attempt
        demand = self._demands[job.node.id]
        future = self.client.submit(
            build_node,
            request.to_json(),
            key=name,
            workers=[attempt.site.address],
            allow_other_workers=False,
            resources=resources_of(demand, attempt.site.machine),
            pure=False,
            retries=0,
        )
        return _DaskTask(name, future, self, attempt.site)

    def move(self, attempt: FarmAttempt) -> bool:
        """Give an attempt another machine. Raises: FARM if every machine has refused it."""
        node = attempt.job.node
        with self._lock:
            self._free(attempt)
            able = [site for site in self._sites.values() if not lacks(site.machine, self._demands[node.id])]
            if able and all(site.address in attempt.refusals for site in able):
                what = "no machine of the farm can build it"
                raise StagewrightError(Reason.FARM, what, detail="\n".join(attempt.refusals.values()))
            site = self._choose(node, attempt.avoid)
            if site is None or site.address in attempt.refusals:
                return False
            site.running[node.id] = self._demands[node.id]
            attempt.site = site
        return True

    def accept(self, attempt: FarmAttempt, reply: BuildReply) -> None:
        """Note the metadata of a result, and pull it if this machine needs it."""
        job = attempt.job
        meta = reply.result()
        if meta and meta.key == job.key.digest:
            self._metas[meta.key] = meta
        with self._lock:
            self._had.setdefault(attempt.site.address, set()).add(job.key.digest)
        if job.key.digest in self._kept and not self._shared.pull(job.node.yields, job.key.digest, held=True):
            what = f"its result is not in the shared store {self._shared.remote.name}"
            raise StagewrightError(Reason.NOT_FOUND, what, hint="run the same command again")

    def _hear(self, event: tuple[float, object]) -> None:
        message = Message.from_data(event[1])
        if message and (attempt := self._tasks.get(message.attempt)):
            attempt.hear(message)
