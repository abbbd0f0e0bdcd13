"""The executor of one machine: a worker process for each node, within the resources of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path

from stagewright.engine.executor import Attempt, Placement
from stagewright.engine.job import Job
from stagewright.engine.limits import DiskWatch
from stagewright.engine.lineage import metas_in
from stagewright.engine.plan import Step
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.engine.resources import Resources
from stagewright.engine.token_pool import TokenPool
from stagewright.engine.worker_process import Worker
from stagewright.graph.node import Demand, Node
from stagewright.kinds.common.work import Grant
from stagewright.portage.confdir import MEMORY_PER_JOB
from stagewright.store.meta import Meta
from stagewright.store.store import Store

StartBuild = Callable[[Job, Path], Worker]
"""Starts the worker that builds the node of a job, in a work folder."""


class LocalExecutor:
    """Builds nodes on this machine. ``launch`` starts the workers."""

    def __init__(self, store: Store, resources: Resources, launch: StartBuild = Worker.start) -> None:
        self._store = store
        self.resources = resources
        self._launch = launch
        self._disk = DiskWatch(store.path)
        self._running: dict[Path, Worker] = {}
        self.pool = TokenPool(max(1, min(resources.cores, resources.memory // MEMORY_PER_JOB)))

    def at_once(self, nodes: Sequence[Node]) -> int:
        """Return how many nodes fit into the resources of the run, by their usual demand."""
        return self.resources.at_once([node.demand for node in nodes])

    def demand(self, node: Node) -> Demand:
        """Return the demand of the node's kind."""
        return node.demand

    def meta(self, step: Step) -> Meta | None:
        """Return the metadata of a result in the store; None if it is not there."""
        return metas_in(self._store)(step)

    def fits(self, demand: Demand) -> bool:
        """Return True if a node with this demand can start now; always if nothing runs."""
        if not self._running:
            return True
        demands = [worker.job.node.demand for worker in self._running.values()]
        return (
            (self.resources.jobs is None or len(demands) < self.resources.jobs)
            and self._counted(*demands, demand) <= self.resources.cores
            and sum(one.memory for one in (*demands, demand)) <= self.resources.memory
            and demand.exclusive not in {one.exclusive for one in demands} - {""}
        )

    def _counted(self, *demands: Demand) -> int:
        """Return the cores that nodes count with."""
        return sum(min(demand.cores, self.resources.cores) for demand in demands)

    def place(self, node: Node, waiting: ReadyNodes) -> Placement:
        """Grant the cores that running and ready nodes leave (``Demand``), and memory in proportion.

        A node that compiles is granted everything: its jobs take tokens from the pool of the run.
        """
        if node.demand.compiles:
            return Placement(Grant(self.resources.cores, self.resources.memory))
        demands = [worker.job.node.demand for worker in self._running.values()]
        spare = self.resources.cores - self._counted(*demands) - waiting.ready
        cores = max(1, min(node.demand.cores, self.resources.cores), spare)
        memory = max(node.demand.memory, self.resources.memory * cores // self.resources.cores)
        return Placement(Grant(cores, memory))

    def start(self, job: Job, folder: Path, placement: Placement) -> Worker:
        """Start the worker of a job, with tokens if its node compiles."""
        if job.node.demand.compiles:
            self.pool.add(folder)
        try:
            worker = self._running[folder] = self._launch(job, folder)
        except BaseException:
            self.pool.remove(folder)
            raise
        self._count_others()
        return worker

    def forget(self, attempt: Attempt) -> None:
        """Note that the worker of an attempt has ended."""
        self._running.pop(attempt.folder, None)
        self.pool.remove(attempt.folder)
        self._count_others()

    def _count_others(self) -> None:
        demands = [worker.job.node.demand for worker in self._running.values()]
        self.pool.use(self._counted(*(demand for demand in demands if not demand.compiles)))

    def enforce(self) -> Set[Path]:
        """End the workers that exceed a limit which the kernel does not know."""
        too_large = set()
        for folder, error in self._disk.look({name: one.job.limits for name, one in self._running.items()}).items():
            if not self._running[folder].stopped:
                too_large.add(folder)
                self._running[folder].stop(error)
        for worker in self._running.values():
            worker.enforce()
        return too_large
