"""The folders with the files of tests: consoles, pictures and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stagewright.engine.plan import Plan, Step
from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeFinished
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.store.store import Store
from stagewright.vm.console_lines import TIMED_LOG


def tests_of(plan: Plan) -> list[Step]:
    """Return the steps of a plan that are tests."""
    return [step for step in plan.steps.values() if step.node.id.startswith("test:")]


def folder_of(plan: Plan, store: Store, step: Step) -> Path | None:
    """Return the folder with the files of the last run of a test; None if there was none with these settings.

    A test that failed keeps its folder until it passes.
    """
    failed = store.failed(plan.project.records, step.node.id) / TEST_ARTIFACTS
    if failed.is_dir():
        return failed
    has_result = store.has(step.node.yields, step.key.digest)
    return store.tree(step.node.yields, step.key.digest) if has_result else None


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a test that match a pattern: of its machine, or of each of several machines.

    Deeper folders have files that were copied out of machines.
    """
    found = [path for place in ("", "*/") for path in sorted(folder.glob(f"{place}{pattern}"))]
    return [path for path in found if not path.is_symlink()]


def with_kept_paths(result: NodeFinished, work: Path, kept: Path) -> NodeFinished:
    """Return the end of a node. If its work folder was kept elsewhere, the paths in the error are those of that."""
    if not result.error or not kept.is_dir():
        return result
    detail = result.error["detail"].replace(str(work), str(kept))
    return replace(result, error={**result.error, "detail": detail})


def consoles(plan: Plan, store: Store, other: Callable[[], Path]) -> list[Path]:
    """Return the consoles of the last run of the test that is the target of a plan, with the times of their lines.

    ``other`` returns a further folder that may have results: that of ``stagewright test``. Raises: USAGE if it is not a
    test with a console. NOT_BUILT if it did not run with these settings.
    """
    (target,) = plan.targets
    step = _target(plan)
    if step not in tests_of(plan):
        hint = f"stagewright log {target} prints the log of its build"
        raise StagewrightError(Reason.USAGE, f"{target}: not a test, so it has no console", hint=hint)
    folder = _newest(folder_of(plan, store, step), other())
    found = files_in(folder, TIMED_LOG) if folder else []
    if folder and not found:
        raise StagewrightError(Reason.USAGE, f"{target}: this test has no console ({folder})")
    if not found:
        what = f"{target}: did not run with the present settings of the project"
        raise StagewrightError(Reason.NOT_BUILT, what, hint=f"stagewright build {target}")
    return found


def plain_consoles(plan: Plan, store: Store, other: Callable[[], Path]) -> list[Path]:
    """Return what :func:`consoles` does, but an empty list instead of its errors."""
    step = _target(plan)
    folder = _newest(folder_of(plan, store, step), other()) if step in tests_of(plan) else None
    return files_in(folder, TIMED_LOG) if folder else []


def _target(plan: Plan) -> Step:
    (target,) = plan.targets
    return plan.steps[plan.graph.targets[target][-1]]


def _newest(*folders: Path | None) -> Path | None:
    """Return the folder with the newest console; the first one if no folder has a console."""
    there = [folder for folder in folders if folder and folder.is_dir()]
    return max(
        there,
        key=lambda folder: max((log.stat().st_mtime for log in files_in(folder, TIMED_LOG)), default=0),
        default=None,
    )
