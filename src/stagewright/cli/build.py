"""``stagewright build``."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from stagewright.cli.common import face, locked_option, progress_option, project_of, store_of, targets_argument
from stagewright.engine.doctor import require
from stagewright.engine.outputs import FOLDER, publish
from stagewright.engine.pins import settle
from stagewright.engine.plan import Plan, check_targets
from stagewright.engine.prepare import planned
from stagewright.engine.record import Record
from stagewright.engine.scheduler import Outcome, Resources, Scheduler
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import Listener, Published
from stagewright.graph.node import Node
from stagewright.project.model import Project
from stagewright.stages.base import Stage
from stagewright.stages.guest_test import EVIDENCE
from stagewright.stages.registry import graph_of
from stagewright.store.store import Store
from stagewright.ui.text import duration


@dataclass(frozen=True)
class How:
    """How to build: the face, the resources, and what to do about failures and pins."""

    progress: str
    resources: Resources
    keep_going: bool = False
    locked: bool = False


def how_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How much of the machine a build may take, and what it does after a failure; the command gets it as ``how``."""

    @functools.wraps(function)
    def with_how(
        *arguments: Any,
        progress: str,
        keep_going: bool,
        cores: int | None,
        memory: int | None,
        jobs: int | None,
        **others: Any,
    ) -> Any:
        how = How(progress, Resources.of_machine().limited(cores, memory, jobs), keep_going)
        return function(*arguments, how=how, **others)

    memory = "Memory to use together (default: what is free)."
    decorated: Callable[..., Any] = with_how
    for decorate in (
        click.option(
            "--jobs", type=click.IntRange(min=1), help="How many nodes to build at a time (default: what fits)."
        ),
        click.option("--memory", type=click.IntRange(min=256), metavar="MIB", help=memory),
        click.option("-j", "--cores", type=click.IntRange(min=1), help="Cores to use together (default: all)."),
        click.option("-k", "--keep-going", is_flag=True, help="After a failure, build whatever does not depend on it."),
        progress_option,
    ):
        decorated = decorate(decorated)
    return decorated


@click.command(name="build")
@targets_argument
@how_options
@locked_option
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], how: How, *, locked: bool) -> None:
    """Build stages and run boot tests; all of the project when none is named.

    What is in the store already is not built again, and a build that was stopped
    or that failed goes on from what it had finished. Files for people end up in
    the folder out/ of the project.
    """

    def publisher(plan: Plan, store: Store) -> Mapping[str, list[str]]:
        return publish(plan, store, plan.project.folder / FOLDER)

    build(project_of(ctx), store_of(ctx), targets, replace(how, locked=locked), publisher)


def build(
    project: Project,
    store: Store,
    targets: tuple[str, ...],
    how: How,
    publisher: Callable[[Plan, Store], Mapping[str, list[str]]],
) -> None:
    """Build a project, and have what is there for people put where it belongs; ``publisher`` returns paths by target.

    Raises everything that failed.
    """
    started = time.monotonic()
    check_targets(graph_of(project), project, targets)
    store.sweep()
    with face(how.progress) as listener:
        project = settle(project, store, targets, [listener], locked=how.locked)
        plan = planned(project, store, targets, [listener])
        outcome = carry_out(plan, store, how.resources, listener, keep_going=how.keep_going)
        outputs = publisher(plan, store)
        listener(Published(outputs=dict(outputs)))
    if outcome:
        raise_failures(plan, store, outcome)
    if how.progress not in ("json", "quiet"):
        _report(plan, outputs, time.monotonic() - started)


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
        yield from (problem.at(entry.place()) for problem in entry.model.lacks())


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
        more = f"the whole console and what goes with it: {kept / EVIDENCE}"
    return StagewrightError(
        error.reason,
        f"{node.id}: {error.message}",
        place=error.place or node.place,
        detail=error.detail,
        hint=f"{error.hint}\n        {more}" if error.hint else more,
    )


def _report(plan: Plan, outputs: Mapping[str, list[str]], seconds: float) -> None:
    built = len(plan.to_build)
    count = f"{built} built, " if built else ""
    cached = sum(step.state == "cached" for step in plan.steps.values())
    print(f"{plan.project.info.name}: {count}{cached} cached, in {duration(seconds)}", file=sys.stderr)
    for target, paths in outputs.items():
        for path in paths:
            print(f"{target}\t{path}")
