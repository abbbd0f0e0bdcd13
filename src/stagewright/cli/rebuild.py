"""``stagewright rebuild``."""

from __future__ import annotations

import json

import click

from stagewright.cli.build import build_options
from stagewright.cli.common import progress_listener, session_of, stage_argument
from stagewright.engine.build_options import BuildOptions
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.differences import difference_lines
from stagewright.ui.streams import note
from stagewright.ui.text import duration, plural


@click.command(name="rebuild")
@stage_argument
@click.option("--compare", is_flag=True, help="Compare with the stored result, which stays.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@build_options
@click.pass_context
def command(
    ctx: click.Context, target: str, options: BuildOptions, progress: str, *, compare: bool, as_json: bool
) -> None:
    """Build one stage again from the inputs in the store.

    Only this stage is built, in a new folder, and its packages are compiled again: the
    cache of binary packages is not used. The new result replaces the stored one. Results
    that were made from the old one stay.

    With --compare the store stays as it is. Each file that differs is listed with its
    package: content, mode, owner, time, attributes. Tarballs and images are looked into.
    The exit code is 1 if something differs that neither the project
    ([unreproducible.NAME]) nor Stagewright knows.

    `stagewright plan` lists the names of nodes, such as live+boot.squashfs. To build an
    artifact with everything below it again, use `stagewright reproduce`.

    \b
      stagewright rebuild --compare system
      stagewright rebuild iso
    """
    progress = "plain" if progress == "json" and as_json else progress
    with progress_listener(progress) as listener:
        found = session_of(ctx, listener).rebuild(target, options, compare=compare)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    elif not compare:
        note(f"{found.node}: built again in {duration(found.seconds)}; the result was replaced")
    elif not found.differences:
        print(f"{found.node}: no difference")
    else:
        print(f"{found.node}: {plural(len(found.differences), 'difference')}")
        for line in difference_lines(found.differences):
            print(line)
    if found.unexplained:
        what = f"{found.node}: the second build differs ({plural(len(found.unexplained), 'file')})"
        hint = "for a difference that is known, add [unreproducible.NAME] with `packages` or `files`, and `why`"
        raise StagewrightError(Reason.NOT_REPRODUCED, what, hint=hint)
