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
    """Build specs into Catalyst's storedir.

    Several specs are built at the same time. SPEC is a spec, or a folder whose *.spec
    files are read. With the configuration of catalyst-auto no SPEC is needed. All
    errors are reported before the build starts: unknown and unsupported keys, packages
    that the snapshot does not have, missing seeds and files.

    Results have the names that Catalyst gives them, below the storedir of
    catalyst.conf, with their digests. Results that are in the store are not built
    again, so the same command continues after a failure. For logs and roots of failed
    builds, use `stagewright log` and `shell` in the project that `convert` writes.

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
