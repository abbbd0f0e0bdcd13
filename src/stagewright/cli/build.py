"""``stagewright build``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from stagewright.cli.common import (
    locked_option,
    progress_listener,
    progress_option,
    session_of,
    targets_argument,
)
from stagewright.cli.junit import junit_option, write_junit
from stagewright.engine.build import BuildOptions, BuildResult
from stagewright.engine.performed import performed
from stagewright.engine.plan import State
from stagewright.project.limits import parse_limits
from stagewright.ui.streams import note
from stagewright.ui.text import duration


def build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a build; the command gets them as ``options``."""

    @functools.wraps(function)
    def with_options(
        *arguments: Any,
        keep_going: bool,
        cores: int | None,
        memory: int | None,
        jobs: int | None,
        limit: tuple[str, ...],
        **others: Any,
    ) -> Any:
        options = BuildOptions(cores, memory, jobs, keep_going, limits=parse_limits(limit))
        return function(*arguments, options=options, **others)

    memory = "Memory that all nodes may use together (default: nine tenths of what is free)."
    decorated: Callable[..., Any] = with_options
    limit = "A limit for each node: timeout=12h, memory=16G, processes=5000 or disk=50G. Can be repeated."
    for decorate in (
        click.option("--limit", multiple=True, metavar="NAME=VALUE", help=limit),
        click.option(
            "--jobs", type=click.IntRange(min=1), help="Number of nodes to build at the same time (default: what fits)."
        ),
        click.option("--memory", type=click.IntRange(min=256), metavar="MIB", help=memory),
        click.option(
            "-j", "--cores", type=click.IntRange(min=1), help="Cores that all nodes may use together (default: all)."
        ),
        click.option("-k", "--keep-going", is_flag=True, help="After a failure, build what does not depend on it."),
        progress_option,
    ):
        decorated = decorate(decorated)
    return decorated


@click.command(name="build")
@targets_argument
@build_options
@locked_option
@click.option("--verify", is_flag=True, help="First verify all results that are not built again.")
@junit_option
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    options: BuildOptions,
    progress: str,
    *,
    locked: bool,
    verify: bool,
    junit_file: Path | None,
) -> None:
    """Build stages and run tests; everything if none is named.

    Results that are in the store are not built again. After a failure or Ctrl-C, the
    same command continues with what is finished. Files such as images and tarballs are
    linked into the folder out/ of the project, and their paths are printed. Results that
    were damaged in the store are set aside and built again: files for users are compared
    with what was built, roots only with --verify.

    \b
      stagewright build                     everything
      stagewright build iso --cores 4       one stage and what it needs
      stagewright build --progress=json     events for a program, a JSON object a line
      stagewright build --junit tests.xml   the results of all tests for a CI server
    """
    with progress_listener(progress) as listener:
        session = session_of(ctx, listener)
        result = session.build(targets, replace(options, locked=locked, verify=verify))
    if junit_file:
        write_junit(junit_file, session.project.info.name, performed(result, session.store))
    finish(result, progress)


def finish(result: BuildResult, progress: str) -> None:
    """Raise what failed, or print the summary of a build and the paths of its results."""
    result.raise_failures()
    if progress in ("json", "quiet"):
        return
    steps = result.plan.steps.values()
    built = len(result.plan.to_build)
    count = f"{built} built, " if built else ""
    cached = sum(step.state is State.CACHED for step in steps)
    note(f"{result.plan.project.info.name}: {count}{cached} cached, in {duration(result.seconds)}")
    for target, paths in result.outputs.items():
        for path in paths:
            print(f"{target}\t{path}")
    machines = [target for target, paths in result.outputs.items() if any(path.endswith(_IMAGES) for path in paths)]
    if machines:
        image = next(path for path in result.outputs[machines[0]] if path.endswith(_IMAGES))
        name = machines[0] if result.plan.project.has_file else image
        note(f"stagewright boot {name} starts a machine with it; --virt-install prints the command for libvirt")


_IMAGES = (".iso", ".qcow2", ".img")
