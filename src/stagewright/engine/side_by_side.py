"""Work of workers outside of a run, side by side: a thread for each waits for its worker.

Listeners are called by the thread of the caller only, because they need not be safe for threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from stagewright.engine.workspace import Workspace
from stagewright.events import Event, Listeners, NodeFinished, Status

if TYPE_CHECKING:
    from stagewright.engine.job import Job
    from stagewright.engine.worker_process import Worker

AT_ONCE = 4
"""Workers that run at the same time. They wait for servers most of the time, so the number of cores does not matter."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    workspace: Workspace, function: Callable[[Workspace, Item], Result], items: Mapping[str, Item]
) -> Iterator[tuple[Item, Future[Result]]]:
    """Call a function for several items, by node id. Yields each with its result, as soon as it has one.

    The function starts at most one worker, for this node, by the workspace that it gets. If the caller stops, or is
    interrupted, the workers are killed.
    """
    found: SimpleQueue[Event | Future[Result]] = SimpleQueue()
    workers: dict[str, Worker] = {}
    stopped = False

    def launch(job: Job, folder: Path, mode: str = "build") -> Worker:
        worker = workers[job.node.id] = workspace.launch(job, folder, mode)
        if stopped:
            worker.process.kill()
        return worker

    inner = replace(workspace, emit=Listeners(found.put), launch=launch)
    assert inner.store and inner.graph  # opened and made here, once
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = {pool.submit(function, inner, item): node for node, item in items.items()}
            try:
                for future in futures:
                    future.add_done_callback(found.put)
                for _ in futures:
                    while not isinstance(one := found.get(), Future):
                        workspace.emit(one)
                    yield items[futures[one]], one
            finally:
                stopped = True
                for future, node in futures.items():
                    if not future.cancel() and not future.done() and node in workers:
                        workers[node].process.kill()
    finally:
        while not found.empty():
            if not isinstance(last := found.get(), Future):
                workspace.emit(_interrupted(last))


def _interrupted(event: Event) -> Event:
    """Return an event of work that was stopped. The work counts as interrupted and not as failed."""
    if isinstance(event, NodeFinished) and event.status is Status.FAILED:
        return replace(event, status=Status.INTERRUPTED, error=None)
    return event
