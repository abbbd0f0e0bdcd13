"""``stagewright clean``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stagewright.cli.common import store_of
from stagewright.errors import Reason, StagewrightError
from stagewright.project.load import find
from stagewright.store.collect import collect, leftovers
from stagewright.ui.streams import note
from stagewright.ui.text import size


@click.command(name="clean")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove the roots of all projects of the store.")
@click.option("--json", "as_json", is_flag=True, help="Print what is removed, with sizes in bytes, as JSON.")
@click.pass_context
def command(ctx: click.Context, *, dry_run: bool, everything: bool, as_json: bool) -> None:
    """Remove interrupted builds and roots of failed builds.

    The roots are those of this project, or with --all of every project. A root that a
    shell is open in stays. Results and caches stay too: stagewright gc removes those.
    """
    store = store_of(ctx)
    kept = leftovers(store, None if everything else _project(ctx))
    swept, freed = ([], 0) if dry_run else (store.sweep(note), collect(store, kept, note))
    if as_json:
        found = [{"path": str(item.path), "what": item.what, "size": item.size} for item in kept]
        total = sum(item.size for item in kept) if dry_run else freed
        interrupted = [str(path) for path in swept]
        data = {"dry_run": dry_run, "items": found, "interrupted": interrupted, "size": total}
        print(json.dumps(data, indent=2))
        return
    for item in kept:
        print(f"{size(item.size):>10}  {item.what}")
    if dry_run:
        print(f"would free {size(sum(item.size for item in kept))}")
    else:
        print(f"freed {size(freed)}" + (f", removed {len(swept)} interrupted builds" if swept else ""))


def _project(ctx: click.Context) -> Path:
    """Return the folder of the project. Raises: NO_PROJECT."""
    try:
        return find(ctx.obj["directory"])
    except StagewrightError as error:
        hint = "stagewright clean --all removes the failed roots of all projects"
        raise StagewrightError(Reason.NO_PROJECT, error.message, hint=hint) from error
