"""``stagewright catalyst build``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from stagewright.cli.build import build_options, finish
from stagewright.cli.common import progress_listener, store_of
from stagewright.cli.options import specs_options
from stagewright.dropin.deliver import deliver
from stagewright.dropin.project import Specs, load_specs
from stagewright.engine.build import BuildOptions
from stagewright.engine.plan import Plan
from stagewright.engine.session import Session
from stagewright.ui.streams import note


@click.command(name="build")
@specs_options
@build_options
@click.pass_context
def command(
    ctx: click.Context,
    specs: Specs,
    options: BuildOptions,
    progress: str,
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
        note(f"note: {notice}")

    def publisher(plan: Plan) -> Mapping[str, list[str]]:
        return deliver(loaded.placed(plan.project), plan, store, loaded.release.config)

    with progress_listener(progress) as listener:
        result = Session(project, store, [listener]).build((), options, publisher)
    finish(result, progress)
