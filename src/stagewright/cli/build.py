"""``stagewright build``."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import click

from stagewright.cli.common import face, locked_option, progress_option, project_of, store_of, targets_argument
from stagewright.engine.carry_out import carry_out, raise_failures
from stagewright.engine.outputs import FOLDER, publish
from stagewright.engine.pins import settle
from stagewright.engine.plan import Plan, check_targets
from stagewright.engine.prepare import planned
from stagewright.engine.scheduler import Resources
from stagewright.events import Published
from stagewright.kinds.registry import graph_of
from stagewright.project.model import Project
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


def _report(plan: Plan, outputs: Mapping[str, list[str]], seconds: float) -> None:
    built = len(plan.to_build)
    count = f"{built} built, " if built else ""
    cached = sum(step.state == "cached" for step in plan.steps.values())
    print(f"{plan.project.info.name}: {count}{cached} cached, in {duration(seconds)}", file=sys.stderr)
    for target, paths in outputs.items():
        for path in paths:
            print(f"{target}\t{path}")
