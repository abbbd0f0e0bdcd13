"""``stagewright status``."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from stagewright.cli.common import store_folder
from stagewright.engine.recorded_runs import RecordedRun, recorded_runs
from stagewright.engine.run_estimates import remaining_seconds, usual_seconds
from stagewright.engine.run_state import active_nodes, next_nodes, running_data
from stagewright.store.durable import write_atomically
from stagewright.ui.metrics import openmetrics
from stagewright.ui.text import duration, printable


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each running build, on a line.")
@click.option(
    "--metrics",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write metrics for Prometheus (OpenMetrics) to this file instead; - is standard output.",
)
@click.pass_context
def command(ctx: click.Context, as_json: bool, metrics: Path | None) -> None:
    """Show the builds that run now, and when they end.

    The time that is left is the longest way through the nodes that are left, by the
    times of former builds. It is not shown if a node was never built before.
    """
    store = store_folder(ctx)
    runs = list(recorded_runs(store))
    if metrics:
        text = openmetrics(runs, store)
        if metrics == Path("-"):
            print(text, end="")
        else:
            write_atomically(metrics, text)
        return
    running = [run for run in runs if run.is_running]
    now = time.time()
    for run in running:
        usual = usual_seconds(runs, run.project, run.folder)
        print(json.dumps(running_data(run, usual, now)) if as_json else "\n".join(_lines(run, usual, now)))
    if not running and not as_json:
        print("no build is running")


def _lines(run: RecordedRun, usual: Mapping[str, float], now: float) -> Iterator[str]:
    done = sum(node.status is not None for node in run.nodes.values())
    yield f"{printable(run.project)}: {done} of {len(run.nodes)} done in {duration(now - run.started)}" + _end(
        remaining_seconds(run, usual, now), now
    )
    for node in active_nodes(run):
        if node.waits:
            yield f"  {node.node}: another run is building it"
            continue
        took = now - (node.started or now)
        phase = node.phases[-1][1] if node.phases else "start"
        step = f" {node.step[0]} of {node.step[1]}: {node.step[2]}" if node.step else ""
        usually = f" (usually {duration(usual[node.node])})" if node.node in usual else ""
        where = f" on {node.machine}" if node.machine else ""
        yield printable(f"  {node.node}{where}: {phase}{step}, for {duration(took)}{usually}")
    if waiting := next_nodes(run):
        yield printable(f"  next: {', '.join(waiting[:5])}" + (f" and {len(waiting) - 5} more" * (len(waiting) > 5)))


def _end(left: float | None, now: float) -> str:
    if left is None:
        return ""
    end = datetime.datetime.fromtimestamp(now + left).astimezone()
    return f", at least {duration(left)} left (until {end:%H:%M})"
