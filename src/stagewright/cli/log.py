"""``stagewright log``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from stagewright.cli.common import project_of, stage_argument, store_of
from stagewright.engine.plan import check_targets
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.registry import graph_of
from stagewright.store.store import Store


@click.command(name="log")
@stage_argument
@click.option("-f", "--follow", is_flag=True, help="Go on printing as the log grows.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the logs that are kept, newest last.")
@click.pass_context
def command(ctx: click.Context, target: str, follow: bool, listing: bool) -> None:
    """Print what the commands of the last build of a STAGE, seed or test printed."""
    project, store = project_of(ctx), store_of(ctx)
    graph = graph_of(project)
    nodes = (target,) if target in graph.nodes else graph.targets[check_targets(graph, project, [target])[0]]
    logs = [path for node in nodes for path in _logs(store, project.info.name, node)]
    if not logs:
        raise StagewrightError(
            Reason.NOT_BUILT, f"{target} has never been built here", hint=f"stagewright build {target}"
        )
    if listing:
        print("\n".join(map(str, logs)))
        return
    with logs[-1].open(errors="replace") as stream:
        while True:
            sys.stdout.write(stream.read())
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.3)


def _logs(store: Store, project: str, node: str) -> list[Path]:
    folder = store.log_folder(project, node)
    return sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime) if folder.exists() else []
