"""Carry out a plan on this machine: check what it needs, build, and raise what failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagewright.engine.doctor import require
from stagewright.engine.event_log import Record
from stagewright.engine.plan import Plan
from stagewright.engine.scheduler import Outcome, Resources, Scheduler
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import Listener
from stagewright.graph.node import Node
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.project.model import Project
from stagewright.store.store import Store


def carry_out(
    plan: Plan, store: Store, resources: Resources, listener: Listener, *, keep_going: bool
) -> Outcome | None:
    """Build what a plan says, after looking whether this machine can; None when there is nothing to build."""
    store.register(plan.project.folder, plan.keys())
    if not plan.to_build:
        return None
    require(store, [step.node for step in plan.to_build])
    problems = [problem for step in plan.to_build for problem in _lacks(plan.project, step.node)]
    if problems:
        raise ProblemsError(problems)
    listeners = [listener]
    scheduler = Scheduler(plan, store, resources, listeners, keep_going=keep_going)
    with Record(store, scheduler.run_id) as record:
        listeners.append(record)
        return scheduler.run()


def _lacks(project: Project, node: Node) -> Iterator[StagewrightError]:
    """What an entry of the project needs of this machine and is not there."""
    entry = project.entry(node.id)
    if entry and isinstance(entry.model, Stage):
        yield from (problem.at(entry.place()) for problem in entry.model.missing())


def raise_failures(plan: Plan, store: Store, outcome: Outcome) -> None:
    """Raise what went wrong in a run, with the way to see more of it."""
    if outcome.interrupted:
        raise StagewrightError(
            Reason.INTERRUPTED, "stopped", hint="run the same command again: it goes on from what is finished"
        )
    if outcome.errors:
        problems = []
        for name, error in outcome.errors.items():
            kept = store.failed(plan.project.info.name, name)
            problems.append(_with_way_in(plan.graph.nodes[name], error, kept))
        raise ProblemsError(problems)


def _with_way_in(node: Node, error: StagewrightError, kept: Path) -> StagewrightError:
    """The error of a node, with the place of its stage in the project and where to see more."""
    name = node.id.rpartition(":")[2]
    more = f"stagewright log {name} shows everything"
    if error.reason in (Reason.PACKAGE_FAILED, Reason.COMMAND_FAILED, Reason.BUILD_FAILED, Reason.DEPENDENCIES):
        more += f", stagewright shell {name} enters the root as the build left it"
    if error.reason is Reason.BOOT_FAILED:
        more = f"the whole console and what goes with it: {kept / TEST_ARTIFACTS}"
    return StagewrightError(
        error.reason,
        f"{node.id}: {error.message}",
        place=error.place or node.place,
        detail=error.detail,
        hint=f"{error.hint}\n        {more}" if error.hint else more,
    )
