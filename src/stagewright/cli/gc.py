"""``stagewright gc``."""

from __future__ import annotations

import json
import sys

import click

from stagewright.cli.common import session_of
from stagewright.ui.plain import Plain
from stagewright.ui.text import size


@click.command(name="gc")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="Also remove packages, repositories and fetched seeds that no build used for so many days.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what is removed, with sizes in bytes, as JSON.")
@click.pass_context
def command(ctx: click.Context, *, dry_run: bool, days: float, as_json: bool) -> None:
    """Remove results from the store that no project needs.

    A project needs the results with the keys of its last build; this project needs
    those of its present settings. Results of earlier settings are removed.
    """
    garbage, freed = session_of(ctx, Plain(sys.stderr)).collect(days, dry_run=dry_run)
    total = sum(item.size for item in garbage) if dry_run else freed
    if as_json:
        found = [{"path": str(one.path), "what": one.what, "key": one.key, "size": one.size} for one in garbage]
        print(json.dumps({"dry_run": dry_run, "items": found, "size": total}, indent=2))
        return
    for item in garbage:
        print(f"{size(item.size):>10}  {item.key[:12]:<12}  {item.what}")
    print(f"{'would free' if dry_run else 'freed'} {size(total)}")
