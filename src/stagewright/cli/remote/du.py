"""``stagewright store du``."""

from __future__ import annotations

import json
from collections import defaultdict

import click

from stagewright.cli.remote.common import remote_argument, remote_of
from stagewright.remote.keep import inventory
from stagewright.ui.text import printable, size


@click.command(name="du")
@remote_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, remote: str, *, as_json: bool) -> None:
    """Show what takes the room of a remote store, by node.

    A blob that several results share counts for the first of them.
    """
    with remote_of(ctx, remote, "quiet") as (opened, _):
        found = inventory(opened)
    sizes: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    seen: set[str] = set()
    for one in found.results:
        counts[one.statement.node] += 1
        for blob in one.statement.blobs:
            if blob.digest not in seen:
                seen.add(blob.digest)
                sizes[one.statement.node] += blob.size
    others = sum(count for digest, count in found.blobs.items() if digest not in seen)
    if as_json:
        nodes = {node: {"results": counts[node], "size": sizes[node]} for node in sorted(sizes)}
        print(json.dumps({"nodes": nodes, "others": others, "size": found.size}, indent=2))
        return
    for node in sorted(sizes, key=lambda node: -sizes[node]):
        print(f"{size(sizes[node]):>10}  {counts[node]:>4}  {printable(node)}")
    print(f"{size(others):>10}        files of caches, and blobs without a result")
    print(f"{size(found.size):>10}        in all")
