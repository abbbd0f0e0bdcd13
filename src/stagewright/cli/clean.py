"""``stagewright clean``."""

from __future__ import annotations

import click

from stagewright.cli.common import store_of
from stagewright.store.collect import collect, leftovers
from stagewright.ui.streams import note
from stagewright.ui.text import size


@click.command(name="clean")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be removed.")
@click.pass_context
def command(ctx: click.Context, dry_run: bool) -> None:
    """Remove interrupted builds and roots of failed builds.

    A root that a shell is open in stays. Results and caches stay too: stagewright gc
    removes those.
    """
    store = store_of(ctx)
    kept = leftovers(store)
    swept, freed = ([], 0) if dry_run else (store.sweep(note), collect(store, kept, note))
    for item in kept:
        print(f"{size(item.size):>10}  {item.what}")
    if dry_run:
        print(f"would free {size(sum(item.size for item in kept))}")
    else:
        print(f"freed {size(freed)}" + (f", removed {len(swept)} interrupted builds" if swept else ""))
