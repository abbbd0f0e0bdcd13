"""``stagewright build``."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stagewright.cli.common import (
    locked_option,
    progress_listener,
    progress_option,
    session_of,
    targets_argument,
)
from stagewright.cli.farm_options import farm_options
from stagewright.cli.junit import junit_option, write_junit
from stagewright.cli.options import mebibytes
from stagewright.ui.streams import note
from stagewright.ui.text import duration, plural

if TYPE_CHECKING:
    from stagewright.engine.build import BuildResult
    from stagewright.engine.build_options import BuildOptions
    from stagewright.project.model import Project

CORES = "Cores that all nodes may use together, like the N of make -jN (default: all)."


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
        from stagewright.engine.build_options import BuildOptions
        from stagewright.engine.resources import Resources
        from stagewright.project.limits import parse_limits

        most = Resources.of_machine().limited(cores, memory).cores
        if jobs and jobs > most:
            note(f"--jobs {jobs}: at most {plural(most, 'node')} at a time, one for each core that builds may use")
        options = BuildOptions(cores, memory, jobs, keep_going, limits=parse_limits(limit))
        return function(*arguments, options=options, **others)

    memory = "Memory that all nodes may use together: MiB, or a number with M or G (default: nine tenths of the free)."
    decorated: Callable[..., Any] = with_options
    limit = "A limit for each node: timeout=12h, memory=16G, processes=5000 or disk=50G. Can be repeated."
    for decorate in (
        click.option("--limit", multiple=True, metavar="NAME=VALUE", help=limit),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            help="Most nodes to build at the same time, within cores and memory (default: what fits).",
        ),
        click.option("--memory", callback=mebibytes(256), metavar="SIZE", help=memory),
        click.option("-j", "--cores", type=click.IntRange(min=1), help=CORES),
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
@click.option("--push", is_flag=True, help="Give the results to all remote stores that accept them.")
@click.option("--no-pull", is_flag=True, help="Take nothing from remote stores.")
@farm_options
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
    push: bool,
    no_pull: bool,
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
      stagewright build --farm URL          on the machines of a farm
      stagewright build --push              also give the results to remote stores
      stagewright build --junit tests.xml   the results of all tests for a CI server
    """
    from stagewright.engine.performed import performed
    from stagewright.ui.hooks import Hooks, hook_files, hooks_of

    with Hooks(hooks_of(hook_files())) as hooks, progress_listener(progress) as listener:
        session = session_of(ctx, listener, hooks, wanted=targets)
        result = session.build(
            targets, replace(options, locked=locked, verify=verify, push=push or None, pull=not no_pull)
        )
    if junit_file:
        write_junit(junit_file, session.project.info.name, performed(result, session.store))
    finish(result, progress)


def finish(result: BuildResult, progress: str) -> None:
    """Print the summary of a build and the paths of its results, and raise what failed."""
    if progress not in ("json", "quiet"):
        note(f"{result.plan.project.info.name}: {_counts(result)}, in {duration(result.seconds)}")
        for target, paths in result.outputs.items():
            for path in paths:
                print(f"{target}\t{path}")
        for line in _next(result):
            note(line)
    result.raise_failures()


def _counts(result: BuildResult) -> str:
    """Return the numbers of nodes by what happened to them."""
    from stagewright.engine.plan import State
    from stagewright.events import Status

    found = Counter(result.statuses.values())
    stored = sum(step.state is State.CACHED for step in result.plan.steps.values())
    counts = {
        "built": found[Status.BUILT],
        "cached": found[Status.CACHED] + stored,
        "failed": len(result.errors),
        "skipped": found[Status.SKIPPED],
        "stopped": found[Status.INTERRUPTED],
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "cached")


def _next(result: BuildResult) -> Iterator[str]:
    """Yield command lines for the results: the first image, the first set for network boot, or the last root."""
    from stagewright.ui.actions import SETS

    project = result.plan.project
    for target, paths in result.outputs.items():
        image = next((path for path in paths if path.endswith(_IMAGES)), None)
        if image:
            name = target if project.has_file else image
            yield f"stagewright boot {name} starts a machine with it; --virt-install prints the command for libvirt"
            break
    sets = [name for name in result.outputs if (entry := project.entry(name)) and entry.kind in SETS]
    if sets and project.has_file:
        yield f"stagewright netboot serve {sets[0]} serves it to machines"
    roots = [name for name in result.plan.targets if action_of(project, name).startswith("stagewright shell")]
    if roots and not result.outputs and not result.errors and project.has_file:
        yield f"stagewright shell {roots[-1]} enters what was built"


def action_of(project: Project, name: str) -> str:
    """Return the command line for the result of a stage; empty if there is none."""
    from stagewright.ui.actions import action

    entry = project.entry(name)
    return action(entry) if entry else ""


_IMAGES = (".iso", ".qcow2", ".img")
