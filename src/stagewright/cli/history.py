"""``stagewright history``."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Sequence

import click

from stagewright.cli.common import session_or_none, store_folder
from stagewright.engine.recorded_runs import RecordedRun, recorded_runs
from stagewright.engine.run_estimates import unsteady_tests
from stagewright.events import Status
from stagewright.ui.text import duration, plural, printable, size


@click.command(name="history")
@click.option("-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs.")
@click.option("-a", "--all", "everything", is_flag=True, help="Runs of all projects in the store.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each run, on a line.")
@click.pass_context
def command(ctx: click.Context, number: int, everything: bool, as_json: bool) -> None:
    """List former runs, newest first, with time and size.

    Below them are the nodes that changed in each run, and tests that passed and failed
    with the same inputs.

    \b
      stagewright history
      stagewright history --all -n 100
      stagewright report 20261130-021857-bb1d     a page about one of them
    """
    session = None if everything else session_or_none(ctx, reads_only=True)
    folder = str(session.project.folder) if session else None
    found = (run for run in recorded_runs(store_folder(ctx)) if folder in (None, run.folder))
    runs = list(itertools.islice(found, number))
    if as_json:
        for run in runs:
            print(json.dumps(_data(run)))
        return
    if not runs:
        print("no run is recorded")
    for run in runs:
        print("\n".join(_lines(run, named=folder is None)))
    _print_unsteady(runs)


def _lines(run: RecordedRun, *, named: bool) -> list[str]:
    """Return the lines of a run: a summary, the nodes that were built, and failures with their messages."""
    when = datetime.datetime.fromtimestamp(run.started).astimezone()
    weight = sum(node.size for node in run.nodes.values())
    counts = [f"{run.count(Status.BUILT)} built", f"{run.cached} cached"]
    counts += [f"{run.count(status)} {status}" for status in (Status.FAILED, Status.SKIPPED) if run.count(status)]
    parts = [f"{when:%Y-%m-%d %H:%M}", state_of(run), duration(run.last_moment - run.started), ", ".join(counts)]
    parts += [size(weight)] if weight else []
    head = "  ".join([run.run, *([printable(run.project)] if named else []), *parts])
    built = [printable(name) for name, node in run.nodes.items() if node.status is Status.BUILT]
    failed = [f"    {name}: {node.error['message']}" for name, node in run.nodes.items() if node.error]
    return [head, *([f"    built: {', '.join(built)}"] if built else []), *map(printable, failed)]


def state_of(run: RecordedRun) -> str:
    """Return how a run ended: a status, or ``running`` or ``killed``."""
    return str(run.status) if run.status else "running" if run.is_running else "killed"


def _data(run: RecordedRun) -> dict[str, object]:
    return {
        "run": run.run,
        "project": run.project,
        "folder": run.folder,
        "started": run.started,
        "seconds": run.last_moment - run.started,
        "state": state_of(run),
        "cached": run.cached,
        "nodes": [
            {"node": node.node, "key": node.key, "status": node.status, "seconds": node.seconds, "size": node.size}
            for node in run.nodes.values()
        ],
    }


def _print_unsteady(runs: Sequence[RecordedRun]) -> None:
    for name, (failures, count) in sorted(unsteady_tests(runs).items()):
        print(f"{printable(name)}: failed {failures} of {plural(count, 'time')} with the same inputs")
