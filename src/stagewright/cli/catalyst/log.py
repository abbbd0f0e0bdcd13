"""``stagewright catalyst log``."""

from __future__ import annotations

import sys

import click

from stagewright.cli.common import store_folder
from stagewright.cli.options import specs_options
from stagewright.dropin.project import Specs, load_specs
from stagewright.engine.session import Session
from stagewright.store.reading import ReadOnlyStore


@click.command(name="log")
@click.argument("stage")
@specs_options
@click.option("-l", "--list", "listing", is_flag=True, help="List the files of all logs instead, newest last.")
@click.pass_context
def command(ctx: click.Context, stage: str, specs: Specs, listing: bool) -> None:
    """Print the log of the last build of a stage of specs.

    STAGE is a name from `stagewright catalyst plan` and from the errors of a build.
    SPEC is a spec or a folder, as for the build. The log has everything that the
    commands of the build printed, and each command line.

    \b
      stagewright catalyst log stage3-amd64-openrc releases/specs/amd64 --conf catalyst.conf
    """
    folder = store_folder(ctx)
    loaded = load_specs(specs, ReadOnlyStore(folder)).usable()
    logs = Session(loaded.project(lenient=True), folder, reads_only=True).logs(stage)
    if listing:
        print("\n".join(map(str, logs)))
        return
    sys.stdout.write(logs[-1].read_text(encoding="utf-8", errors="replace"))
