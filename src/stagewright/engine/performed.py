"""The results of the tests of a build, for JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from stagewright.engine.build import BuildResult
from stagewright.engine.folders_of_tests import files_in, folder_of, tests_of
from stagewright.engine.plan import State, Step
from stagewright.events import Status
from stagewright.store.store import Store
from stagewright.testing.junit import Performed
from stagewright.testing.results import RESULT, Report

SHOWN = ("screen*.png", "boot.svg", RESULT, "console*.log")
"""Patterns of the files of a test that people look at."""


def performed(result: BuildResult, store: Store) -> list[Performed]:
    """Return the tests of a build with their results. Tests that are in the store count as performed when they ran."""
    return list(_performed(result, store))


def _performed(result: BuildResult, store: Store) -> Iterator[Performed]:
    for step in tests_of(result.plan):
        status = result.statuses.get(step.node.id)
        ended = status in (Status.BUILT, Status.CACHED, Status.FAILED)
        if step.state is State.SKIP:
            continue
        if step.state is State.BUILD and not ended:
            why = "another node failed" if status is Status.SKIPPED else "the build was stopped"
            yield Performed(_name(step), skipped=why)
            continue
        folder = folder_of(result.plan, store, step)
        files = [path for pattern in SHOWN for path in files_in(folder, pattern)] if folder else []
        when = folder.stat().st_mtime if folder else 0.0
        report = _report(folder) if folder else None
        yield Performed(_name(step), report, result.errors.get(step.node.id), files=files, time=when)


def _name(step: Step) -> str:
    return step.node.id.rpartition(":")[2]


def _report(folder: Path) -> Report | None:
    """Return the report of a test; None if it has none, or one of another version of Stagewright."""
    try:
        return Report.from_dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
