"""``stagewright catalyst shell``."""

from __future__ import annotations

import sys

import click

from stagewright.cli.common import store_of
from stagewright.cli.options import specs_options
from stagewright.dropin.build import planned
from stagewright.dropin.project import Specs, load_specs
from stagewright.engine.session import Session
from stagewright.temporary import temporary_folder
from stagewright.ui.catalyst import CatalystLog, Level
from stagewright.ui.plain import Plain


@click.command(name="shell")
@click.argument("stage")
@specs_options
@click.option("--run", "line", metavar="LINE", help="Run this line by /bin/sh, instead of a shell.")
@click.option("--before", is_flag=True, help="Enter the root that the build of the STAGE starts from.")
@click.pass_context
def command(ctx: click.Context, stage: str, specs: Specs, line: str | None, *, before: bool) -> int:
    """Enter the root of a stage of specs, or run a command in it.

    STAGE is a name from `stagewright catalyst plan` and from the errors of a build.
    SPEC is a spec or a folder, as for the build. After a failed build this is the root
    as the build left it, and changes to it stay until the next build. Otherwise it is
    what was built, or with --before the root that a build starts from, and changes to
    it are discarded.

    \b
      stagewright catalyst shell stage3-amd64-openrc releases/specs/amd64 --conf catalyst.conf
      stagewright catalyst shell stage4-amd64 stage4.spec --run 'emerge --info'
    """
    store = store_of(ctx)
    words = ["/bin/sh", "-c", line] if line else []
    with temporary_folder("catalyst") as folder:
        if len(specs.files) == 1 and not specs.files[0].is_dir() and not specs.repos:  # as `catalyst -f` built it
            log = CatalystLog(sys.stderr, Level.WARNING)
            project = planned(specs.files[0], specs.conf, store, log, folder, specs.given)[1].project
        else:
            project = load_specs(specs, store).usable().project(lenient=True)
        return Session(project, store, [Plain(sys.stderr)]).shell(stage, words, before=before)
