"""A loaded project with the store that it is built in: what every operation of the engine works on."""

from __future__ import annotations

import time
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stagewright.engine.asked_pins import Ask
from stagewright.events import Listeners
from stagewright.graph.node import Graph
from stagewright.kinds.registry import graph_of, kinds
from stagewright.lazy_dataclass import dataclass
from stagewright.project.load import load
from stagewright.project.lock import Lock
from stagewright.project.model import Project
from stagewright.store.reading import ReadOnlyStore
from stagewright.store.store import Store

if TYPE_CHECKING:
    from stagewright.engine.job import Job
    from stagewright.engine.worker_process import Worker


class StartWorker(Protocol):
    """Starts the worker of a job in a work folder. ``mode`` is ``pin``, ``fetch`` or one of ``BUILDS``."""

    def __call__(self, job: Job, folder: Path, mode: str = "build") -> Worker:
        """Start the worker, and return at once."""


def start_worker(job: Job, folder: Path, mode: str = "build") -> Worker:
    """Start a worker of Stagewright in a new process."""
    from stagewright.engine.worker_process import Worker

    return Worker.start(job, folder, mode)


@dataclass(frozen=True, eq=False)
class Workspace:
    """One loaded project, the folder of a store, the listeners of events, what starts workers, and what asks the user.

    It does not change: a session replaces its workspace when the project is loaded again.
    """

    project: Project
    store_folder: Path
    emit: Listeners = field(default_factory=Listeners)
    launch: StartWorker = start_worker
    ask: Ask | None = None
    reads_only: bool = False
    wanted: tuple[str, ...] = ()
    """The targets that the project was read for, see :func:`stagewright.project.load.load`; all if there are none."""

    @cached_property
    def store(self) -> Store:
        """The store, opened on first use: reading a project needs none. Raises what :class:`Store` does."""
        return ReadOnlyStore(self.store_folder) if self.reads_only else Store(self.store_folder)

    @cached_property
    def graph(self) -> Graph:
        """The nodes of the project."""
        return graph_of(self.project)

    def reloaded(self) -> Workspace:
        """Return a workspace with the project read and checked again. Raises everything that is wrong with it."""
        project = self.project
        lock, given, wanted = project.lock.file, project.given, self.wanted
        return replace(self, project=load(project.folder, kinds(), project.trees, lock, given=given, wanted=wanted))

    def with_lock(self, lock: Lock) -> Workspace:
        """Return a workspace with other pins, which the project is not checked against."""
        return replace(self, project=replace(self.project, lock=lock))

    def log_file(self, node: str, purpose: str) -> Path:
        """Return the path of a new log of work for a node outside of a run, in an existing folder."""
        folder = self.store.log_folder(self.project.records, node)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{purpose}-{time.strftime('%Y%m%d-%H%M%S')}.log"
