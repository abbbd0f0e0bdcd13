"""Work for one node outside of a run, such as the look-up of a pin: its events, and the worker that does it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.engine.job import Job
from stagewright.engine.worker_process import Worker
from stagewright.engine.workspace import Workspace
from stagewright.errors import StagewrightError, internal_error
from stagewright.events import Listener, NodeFinished, NodeStarted, Status


@dataclass
class WorkReport:
    """How the work ends if no exception is raised; the work may change it."""

    status: Status = Status.BUILT


@contextlib.contextmanager
def reported(emit: Listener, node: str, kind: str, key: str, log: Path) -> Iterator[WorkReport]:
    """Report the work of a block: that it started, and how it ended, whatever ends it.

    A KeyboardInterrupt or SystemExit ends it as interrupted, any other exception as failed.
    """
    started, report = time.monotonic(), WorkReport()
    error: StagewrightError | None = None
    emit(NodeStarted(node=node, kind=kind, key=key, log=str(log)))
    try:
        yield report
    except BaseException as problem:
        report.status = Status.FAILED if isinstance(problem, Exception) else Status.INTERRUPTED
        error = _as_error(problem) if isinstance(problem, Exception) else None
        raise
    finally:
        seconds, data = time.monotonic() - started, error.to_dict() if error else None
        emit(NodeFinished(node=node, status=report.status, seconds=seconds, error=data))


def _as_error(problem: Exception) -> StagewrightError:
    return problem if isinstance(problem, StagewrightError) else internal_error(problem)


def ask_worker(workspace: Workspace, job: Job, mode: str, answer: str) -> Any:
    """Run a worker to its end and return what it wrote as JSON into the file ``answer`` of its folder.

    Raises the error that the worker reports.
    """
    with workspace.store.scratch(mode) as folder:
        result = wait_for(workspace.launch(job, folder, mode), workspace.emit)
        if result.error:
            raise StagewrightError.from_dict(result.error)
        return json.loads((folder / answer).read_text(encoding="utf-8"))


def wait_for(worker: Worker, emit: Listener) -> NodeFinished:
    """Wait until a worker has ended, pass on its events, and return its result."""
    with worker:
        while not worker.ended:
            worker.wait(1.0)
            worker.enforce()
            for event in worker.events():
                emit(event)
        for event in worker.events():
            emit(event)
    return worker.outcome()
