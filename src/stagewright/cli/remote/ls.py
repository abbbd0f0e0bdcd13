"""``stagewright store ls``."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from stagewright.cli.remote.common import remote_argument, remote_of
from stagewright.remote.keep import Kept, inventory
from stagewright.ui.streams import note
from stagewright.ui.text import printable, size


@click.command(name="ls")
@remote_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, remote: str, *, as_json: bool) -> None:
    """List the results of a remote store.

    Each line has the key, the form (layer or artifact), the node, the size of its files,
    and the time of its last use.
    """
    with remote_of(ctx, remote, "quiet") as (opened, _):
        found = inventory(opened)
    if as_json:
        print(json.dumps([_data(one) for one in found.results], indent=2))
        return
    for one in found.results:
        statement = one.statement
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
        marks = " ".join(word for word, given in (("pinned", one.pinned), ("in use", one.in_use)) if given)
        name = printable(statement.node)
        line = f"{statement.key[:12]}  {statement.yields:<8}  {size(statement.size):>10}  {when}  {name}  {marks}"
        print(line.rstrip())
    for error in found.damaged:
        note(printable(str(error)))
    files = len(found.caches)
    note(f"{len(found.results)} results, {files} files of caches, {size(found.size)} in the remote")


def _data(one: Kept) -> dict[str, Any]:
    statement = one.statement
    return {
        "key": statement.key,
        "yields": statement.yields.value,
        "node": statement.node,
        "kind": statement.kind,
        "size": statement.size,
        "stored": statement.stored,
        "created": statement.created,
        "used": one.used,
        "pinned": one.pinned,
        "in_use": one.in_use,
    }
