"""``stagewright status``."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping

import click

from stagewright.cli.common import store_folder
from stagewright.engine.recorded_runs import NodeRun, RecordedRun, recorded_runs
from stagewright.engine.run_estimates import remaining_seconds, usual_seconds
from stagewright.ui.text import duration, printable


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each running build, on a line.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the builds that run now, and when they end.

    The time that is left is the longest way through the nodes that are left, by the
    times of former builds. It is not shown if a node was never built before.
    """
    runs = list(recorded_runs(store_folder(ctx)))
    running = [run for run in runs if run.is_running]
    now = time.time()
    for run in running:
        usual = usual_seconds(runs, run.project, run.folder)
        print(json.dumps(_data(run, usual, now)) if as_json else "\n".join(_lines(run, usual, now)))
    if not running and not as_json:
        print("no build is running")


def _lines(run: RecordedRun, usual: Mapping[str, float], now: float) -> Iterator[str]:
    done = sum(node.status is not None for node in run.nodes.values())
    yield f"{printable(run.project)}: {done} of {len(run.nodes)} done in {duration(now - run.started)}" + _end(
        remaining_seconds(run, usual, now), now
    )
    for node in _active(run):
        if node.waits:
            yield f"  {node.node}: another run is building it"
            continue
        took = now - (node.started or now)
        phase = node.phases[-1][1] if node.phases else "start"
        step = f" {node.step[0]} of {node.step[1]}: {node.step[2]}" if node.step else ""
        usually = f" (usually {duration(usual[node.node])})" if node.node in usual else ""
        yield printable(f"  {node.node}: {phase}{step}, for {duration(took)}{usually}")
    if waiting := _next(run):
        yield printable(f"  next: {', '.join(waiting[:5])}" + (f" and {len(waiting) - 5} more" * (len(waiting) > 5)))


def _end(left: float | None, now: float) -> str:
    if left is None:
        return ""
    end = datetime.datetime.fromtimestamp(now + left).astimezone()
    return f", at least {duration(left)} left (until {end:%H:%M})"


def _active(run: RecordedRun) -> list[NodeRun]:
    return [node for node in run.nodes.values() if node.status is None and (node.started or node.waits)]


def _next(run: RecordedRun) -> list[str]:
    """Return the nodes that have not started, those first that wait for nothing but running nodes."""
    open_nodes = {name for name, node in run.nodes.items() if node.status is None and not node.started}
    ready = [name for name in run.nodes if name in open_nodes and not open_nodes & set(run.inputs.get(name, ()))]
    return [*ready, *(name for name in run.nodes if name in open_nodes and name not in ready)]


def _data(run: RecordedRun, usual: Mapping[str, float], now: float) -> dict[str, object]:
    return {
        "run": run.run,
        "project": run.project,
        "folder": run.folder,
        "started": run.started,
        "done": sum(node.status is not None for node in run.nodes.values()),
        "nodes": len(run.nodes),
        "remaining": remaining_seconds(run, usual, now),
        "running": [
            {
                "node": node.node,
                "started": node.started,
                "phase": node.phases[-1][1] if node.phases else None,
                "step": node.step,
                "usual": usual.get(node.node),
                "waits": node.waits,
            }
            for node in _active(run)
        ],
        "next": _next(run),
    }
