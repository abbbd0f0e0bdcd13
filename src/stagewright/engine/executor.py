"""The seam between the scheduler and what builds nodes: this machine (engine/local.py), or a farm of machines.

The scheduler decides which node is next, holds the locks of keys, and records events and results. An executor decides
where a node is built and with which part of a machine, and starts an attempt at building it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from stagewright.engine.job import Job
from stagewright.engine.plan import Step
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.errors import StagewrightError
from stagewright.events import Event, NodeFinished
from stagewright.graph.node import Demand, Node
from stagewright.kinds.common.work import Grant
from stagewright.store.meta import Meta


class Attempt(Protocol):
    """One attempt at building a node. Leaving its block kills it if it still runs.

    ``silent`` is True if no more events can come. ``folder`` is its work folder in the store of the run.
    ``keeps_root`` is True if that folder has the root of the build, which ``stagewright shell`` can enter.
    """

    silent: bool

    @property
    def job(self) -> Job:
        """The job that it carries out."""

    @property
    def folder(self) -> Path:
        """Its work folder."""

    @property
    def keeps_root(self) -> bool:
        """True if the work folder has the root of the build."""

    @property
    def ended(self) -> bool:
        """True if no process of it is left."""

    def descriptors(self) -> list[int]:
        """Return the descriptors that become readable when there is something to do."""

    def ends(self) -> list[int]:
        """Return those descriptors that stay readable once they are."""

    def fileno(self) -> int:
        """Return the descriptor that events come from."""

    def events(self) -> Iterator[Event]:
        """Yield the events that have come since the last call."""

    def outcome(self) -> NodeFinished:
        """Return the result of an attempt that has ended."""

    def stop(self, error: StagewrightError) -> None:
        """End it because of an error, without waiting until it has ended."""

    def kill(self) -> None:
        """End it, and wait until no process of it is left."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Placement:
    """Where a node is built, and the part of the machine that it gets. ``machine`` is empty for this machine."""

    grant: Grant
    machine: str = ""


class Executor(Protocol):
    """Builds nodes. It knows the attempts that it has started until the scheduler calls :meth:`forget`."""

    def at_once(self, nodes: Sequence[Node]) -> int:
        """Return how many of some nodes are built at once, by their usual demand; 0 if it is not known."""

    def demand(self, node: Node) -> Demand:
        """Return what a node needs. Nodes with equal demands can be built in the same places."""

    def meta(self, step: Step) -> Meta | None:
        """Return the metadata of the result of a step; None if it is not known."""

    def fits(self, demand: Demand) -> bool:
        """Return True if a node with this demand can start now."""

    def place(self, node: Node, waiting: ReadyNodes) -> Placement:
        """Return where a node that fits is built. ``waiting`` are the nodes that have not started."""

    def start(self, job: Job, folder: Path, placement: Placement) -> Attempt:
        """Start an attempt, and return at once."""

    def forget(self, attempt: Attempt) -> None:
        """Note that an attempt has ended, and that what it used is free."""

    def enforce(self) -> Set[Path]:
        """End attempts that exceed a limit. Return the work folders of those that have written too much."""
