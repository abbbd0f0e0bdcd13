"""``stagewright gc``."""

from __future__ import annotations

import click

from stagewright.cli.common import project_of, store_of
from stagewright.engine.plan import make_plan
from stagewright.store.collect import collect, unneeded, unused_packages, unused_seeds
from stagewright.ui.text import size


@click.command(name="gc")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="Also remove binary packages, repositories and fetched seeds that no build could use for so long.",
)
@click.pass_context
def command(ctx: click.Context, dry_run: bool, days: float) -> None:
    """Remove results that neither this project nor any other of this store needs now.

    What counts is the key: after a change, the results of the former state are not
    needed any more. Another project counts as it was when it was last built.
    """
    store = store_of(ctx)
    project = project_of(ctx)
    needed = make_plan(project, store).keys()
    if not dry_run:
        store.register(project.folder, needed)
    garbage = [*unneeded(store, set(needed.values())), *unused_packages(store, days)]
    garbage += unused_seeds(store, days)
    for item in garbage:
        print(f"{size(item.size):>10}  {item.key[:12]:<12}  {item.what}")
    if dry_run:
        print(f"would free {size(sum(item.size for item in garbage))}")
    else:
        print(f"freed {size(collect(store, garbage))}")
