"""``stagewright fetch``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stagewright.cli.common import locked_option, progress_listener, progress_option, session_of, targets_argument
from stagewright.engine.fetching import FetchResult
from stagewright.ui.streams import note
from stagewright.ui.text import size


@click.command(name="fetch")
@targets_argument
@locked_option
@click.option("--all", "everything", is_flag=True, help="Also fetch the sources of stages that are built already.")
@click.option(
    "--mirror-out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Make DIR a mirror of exactly the sources that are needed; implies --all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was fetched as JSON.")
@progress_option
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    locked: bool,
    everything: bool,
    mirror_out: Path | None,
    as_json: bool,
    progress: str,
) -> None:
    """Fetch everything that a build downloads.

    After this, a build needs no network. The command looks up pins that are missing,
    and fetches repositories, seeds (which are also unpacked or bootstrapped), and the
    sources of all packages of stages that are not built. Portage works out the sources
    in the root of the stage if it is built, else in the nearest root below it.

    \b
      stagewright fetch --locked            with the present pins only
      stagewright fetch --mirror-out DIR    also write a folder for GENTOO_MIRRORS
    """
    with progress_listener(progress) as listener:
        session = session_of(ctx, listener)
        found = session.fetch(targets, locked=locked, everything=everything, mirror=mirror_out)
    name = session.project.info.name
    if as_json:
        print(json.dumps(_data(name, found, mirror_out), indent=2))
        return
    print(f"{name}: {len(found.paths)} distfiles, {size(found.size)}, in {mirror_out or found.distfiles}")
    for path in found.removed:
        print(f"removed, no longer needed: {path}")
    for one in found.sources:
        if one.unknown:
            note(f"{one.node}: not fetched, its sources are unknown until its base stage is built")


def _data(project: str, found: FetchResult, mirror: Path | None) -> dict[str, Any]:
    return {
        "project": project,
        "pins": found.pins,
        "distfiles": str(found.distfiles),
        "mirror": str(mirror) if mirror else None,
        "stages": {one.node: one.to_dict() for one in found.sources},
    }
