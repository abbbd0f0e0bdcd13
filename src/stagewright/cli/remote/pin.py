"""``stagewright store pin``."""

from __future__ import annotations

import click

from stagewright.cli.remote.common import find_result, remote_argument, remote_of
from stagewright.remote.keep import pin


@click.command(name="pin")
@remote_argument
@click.argument("key")
@click.option("--remove", is_flag=True, help="Remove the pin.")
@click.pass_context
def command(ctx: click.Context, remote: str, key: str, *, remove: bool) -> None:
    """Keep a result of a remote store from removal.

    KEY is the key, or the start of it, as `stagewright store ls` shows it.
    """
    with remote_of(ctx, remote, "quiet") as (opened, _):
        yields, whole = find_result(opened, key)
        pin(opened, yields, whole, pinned=not remove)
    print(f"{whole[:12]} is {'no longer ' if remove else ''}pinned")
