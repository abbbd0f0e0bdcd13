"""``stagewright catalyst build``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from stagewright.cli.build import How, build, how_options
from stagewright.cli.common import store_of
from stagewright.cli.options import specs_options
from stagewright.dropin.deliver import deliver
from stagewright.dropin.project import Loaded, Specs, load_specs
from stagewright.engine.plan import Plan
from stagewright.store.store import Store


@click.command(name="build")
@specs_options
@how_options
@click.pass_context
def command(
    ctx: click.Context,
    specs: Specs,
    how: How,
) -> None:
    """Build specs, all at once and in parallel, into Catalyst's storedir.

    SPEC is a file, or a folder in which all *.spec files are read; the sets of a
    catalyst-auto configuration need none. Everything that is wrong with them is told
    before anything is built: unknown and refused keys, packages that the snapshot
    has not, seeds and files that are not there.

    Results lie where Catalyst puts them, with their digests; storedir is that of
    catalyst.conf. What is in the store already is not built again, so the same
    command goes on after a failure. Logs and failed roots: `stagewright log`,
    `shell` and `build` do the same for the project that `convert` writes.

    \b
      stagewright catalyst build releases/specs/amd64 --conf catalyst.conf --jobs 4
      stagewright catalyst build --conf catalyst.conf --conf tools/catalyst-auto-amd64.conf
    """
    store = store_of(ctx)
    loaded = load_specs(specs, store)
    project = loaded.complete()
    for notice in loaded.notices:
        print(f"note: {notice}", file=sys.stderr)
    build(project, store, (), how, lambda plan, store: publish_release(loaded, plan, store))


def publish_release(loaded: Loaded, plan: Plan, store: Store) -> Mapping[str, list[str]]:
    """Put what was built where Catalyst leaves it; returns paths by entry."""
    return deliver(loaded.placed(plan.project), plan, store, loaded.release.config)
