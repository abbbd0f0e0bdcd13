"""``stagewright store pull``."""

from __future__ import annotations

import click

from stagewright.cli.common import progress_listener, progress_option, session_or_none, store_of, targets_argument
from stagewright.cli.remote.common import find_result, remote_argument
from stagewright.engine.remotes import opened_remote
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.remote.caches import CACHES, pull_cache
from stagewright.remote.pull import pull
from stagewright.remote.remote import RemoteStore
from stagewright.store.in_use import in_use
from stagewright.store.store import Store
from stagewright.ui.text import size


@click.command(name="pull")
@remote_argument
@targets_argument
@click.option("--key", "keys", multiple=True, metavar="KEY", help="A result by its key, or the start of it.")
@click.option("--cache", "caches", multiple=True, type=click.Choice(CACHES), help="Also take this cache.")
@progress_option
@click.pass_context
def command(
    ctx: click.Context,
    remote: str,
    targets: tuple[str, ...],
    keys: tuple[str, ...],
    caches: tuple[str, ...],
    progress: str,
) -> None:
    """Take results from a remote store.

    Without a name: the results of all targets of the project, without those that they
    were made of. A root comes with the layers below it. With --key or --cache and
    without a name, no project is needed. A pull that was cut goes on.
    """
    with progress_listener(progress) as listener:
        session = session_or_none(ctx)
        store = session.store if session else store_of(ctx)
        with opened_remote(remote, session.project if session else None, listener) as opened:
            wanted = [find_result(opened, key) for key in keys]
            if targets or not (keys or caches):
                if session is None:
                    hint = "run it in the folder of a project, or use --key"
                    raise StagewrightError(Reason.NO_PROJECT, "no project: which results?", hint=hint)
                plan = session.plan(targets)
                wanted += [(plan.steps[name].node.yields, plan.steps[name].key.digest) for name in plan.sinks]
            received = _pull(opened, store, wanted)
            received += sum(pull_cache(opened, store, cache).size for cache in caches)
    print(f"{len(wanted)} results pulled from {remote}, {size(received)} received")


def _pull(remote: RemoteStore, store: Store, wanted: list[tuple[Yields, str]]) -> int:
    """Pull results, each with the layers below it. Return the bytes that were received."""
    received = 0
    for yields, key in wanted:
        stack = [key]
        if yields is Yields.LAYER:
            statement = remote.statement(yields, key)
            stack = list(statement.stack) if statement else stack
        with in_use(store, stack), remote.lease(stack):
            for one in reversed(stack):
                found = pull(remote, store, yields, one)
                if found is None and not store.has(yields, one):
                    what = f"{remote.place.name}: key {one[:12]}: not found, or another process makes it now"
                    raise StagewrightError(Reason.NOT_FOUND, what, hint=f"stagewright store ls {remote.name}")
                received += found.received if found else 0
    return received
