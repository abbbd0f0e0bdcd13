"""``stagewright clean``."""

from __future__ import annotations

import click

from stagewright.cli.common import store_of
from stagewright.store.collect import collect, leftovers
from stagewright.ui.text import size


@click.command(name="clean")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be removed.")
@click.pass_context
def command(ctx: click.Context, dry_run: bool) -> None:
    """Remove what builds left behind: half-done work, and roots kept of failed builds.

    Finished stages and caches stay; stagewright gc is for those.
    """
    store = store_of(ctx)
    kept = leftovers(store)
    for item in kept:
        print(f"{size(item.size):>10}  {item.what}")
    if dry_run:
        print(f"would free {size(sum(item.size for item in kept))}")
        return
    swept = store.sweep()
    print(f"freed {size(collect(store, kept))}" + (f", swept {len(swept)} interrupted" if swept else ""))
