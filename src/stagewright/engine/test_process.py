"""The process that runs one test for ``stagewright test``: from a job in a folder, with a store that is only read.

    python -m stagewright.engine.test_process FOLDER RESULTS [interactive]

The events of the test are on standard output, one JSON object a line, or with ``interactive`` as text on the terminal.
``outcome.json`` in FOLDER has the error of a failed test.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from stagewright.engine.job import Job
from stagewright.errors import Reason, StagewrightError, internal_error
from stagewright.events import Event, NodePhase
from stagewright.kinds.common.guest import ScriptedTest
from stagewright.run import UMASK, exit_if_orphaned
from stagewright.store.reading import ReadOnlyStore
from stagewright.testing.interactive import prompt

OUTCOME = "outcome.json"
"""Name of the file with the error of the test, or null."""

INTERACTIVE = "interactive"


def main(folder: Path, results: Path, mode: str = "") -> None:
    """Run the test of a folder, and write its outcome."""
    os.umask(UMASK)
    if mode != INTERACTIVE:
        exit_if_orphaned()
    job = Job.read(folder)
    error: StagewrightError | None = None
    try:
        _run(job, folder, results, interactive=mode == INTERACTIVE)
    except StagewrightError as problem:
        error = problem
    except KeyboardInterrupt:
        error = StagewrightError(Reason.INTERRUPTED, "stopped")
    except Exception as problem:  # noqa: BLE001  the engine raises it
        error = internal_error(problem)
    text = json.dumps(error.to_dict() if error else None)
    (folder / OUTCOME).write_text(text, encoding="utf-8")


def _run(job: Job, folder: Path, results: Path, *, interactive: bool) -> None:
    stage = job.stage
    assert isinstance(stage, ScriptedTest), "the engine runs these tests only"
    emit = _shown if interactive else _printer()
    with job.log.open("a", encoding="utf-8") as log:
        work = job.work(folder, log, emit, ReadOnlyStore(job.store))
        stage.run(work, results, prompt if interactive else None)


def _printer() -> Callable[[Event], None]:
    """Return the function that prints events for the engine. Other output goes to standard error."""
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return lambda event: _write(out.write, event.to_json())


def _shown(event: Event) -> None:
    if isinstance(event, NodePhase):
        _write(sys.stderr.write, event.phase)


def _write(write: Callable[[str], object], text: str) -> None:
    write(f"{text}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
