"""``stagewright catalyst build``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from stagewright.cli.build import build_options, finish
from stagewright.cli.catalyst.report import print_left_out, print_notices, strict_option
from stagewright.cli.common import progress_listener, store_of
from stagewright.cli.options import specs_options
from stagewright.dropin.deliver import deliver
from stagewright.dropin.project import Specs, load_specs
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.plan import Plan
from stagewright.engine.session import Session
from stagewright.errors import Exit


@click.command(name="build")
@specs_options
@strict_option
@build_options
@click.pass_context
def command(
    ctx: click.Context,
    specs: Specs,
    strict: bool,
    options: BuildOptions,
    progress: str,
) -> int:
    """Build specs into Catalyst's storedir.

    Several specs are built at the same time. SPEC is a spec, or a folder whose *.spec
    files are read. With the configuration of catalyst-auto no SPEC is needed. A spec
    with an error is left out, together with the specs that are built on it: an unknown
    or unsupported key, a package that the snapshot does not have, a missing seed or
    file. Its errors are printed before the build and at its end; the exit code is then
    2. With --strict nothing is built in this case.

    Results have the names that Catalyst gives them, below the storedir of
    catalyst.conf, with their digests. Results that are in the store are not built
    again, so the same command continues after a failure. `stagewright catalyst log` and
    `stagewright catalyst shell` show the logs and roots of failed builds.

    \b
      stagewright catalyst build releases/specs/amd64 --conf catalyst.conf --jobs 4
      stagewright catalyst build --conf catalyst.conf --conf tools/catalyst-auto-amd64.conf
    """
    store = store_of(ctx)
    loaded = load_specs(specs, store).usable(strict=strict, to_build=True)
    project = loaded.complete()
    print_notices(loaded.notices)
    print_left_out(loaded)

    def publisher(plan: Plan) -> Mapping[str, list[str]]:
        return deliver(loaded.placed(plan.project), plan, store, loaded.release.config)

    with progress_listener(progress) as listener:
        result = Session(project, store, [listener]).build((), options, publisher)
    finish(result, progress)
    print_left_out(loaded)
    return Exit.INVALID if loaded.left_out else Exit.OK
