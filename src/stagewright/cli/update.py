"""``stagewright update``."""

from __future__ import annotations

import time
from dataclasses import replace

import click

from stagewright.cli.common import face, progress_option, project_of, store_of
from stagewright.engine.doctor import require
from stagewright.engine.pins import pin, save
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.stages.base import Stage
from stagewright.stages.registry import graph_of


@click.command(name="update")
@click.argument("names", nargs=-1, metavar="[SEED]...")
@progress_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], progress: str) -> None:
    """Move what stagewright.lock pins to what is newest now, and show what moved.

    Without names, all seeds move, and so does the time stamp that everything made
    carries (unless the project sets source_date_epoch).
    """
    project, store = project_of(ctx), store_of(ctx)
    moving = {
        name for name, entry in project.entries["seeds"].items() if isinstance(entry.model, Stage) and entry.model.moves
    }
    for name in names:
        if name not in moving:
            hint = nearest(name, moving)
            raise StagewrightError(Reason.UNKNOWN_NAME, f"{name!r} is no seed that can move", hint=hint)
    if not names:
        project = replace(project, lock=replace(project.lock, epoch=int(time.time())))
        save(project.lock)
    chosen = sorted(names or moving)
    if chosen:
        nodes = graph_of(project).nodes
        require(store, [nodes[f"seed:{name}"] for name in chosen])
    with face(progress) as listener:
        _, moved = pin(project, store, chosen, [listener])
    for item in moved:
        print("\n".join(item.lines()))
