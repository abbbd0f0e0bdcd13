"""``stagewright seeds``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stagewright.cli.common import session_or_none
from stagewright.engine.mirror_listing import ListingRequest, MirrorListing, SeedUse, list_mirror
from stagewright.seeds import gentoo, gentoo_keyring
from stagewright.ui.text import size


@click.command(name="seeds")
@click.option(
    "--mirror",
    multiple=True,
    help="The address of a mirror (default: that of the project, else Gentoo's).",
)
@click.option("--arch", help="Gentoo's name of the architecture (default: that of the project, else of this computer).")
@click.option(
    "--keyring",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"A file with OpenPGP public keys (default: that of the project, else {gentoo_keyring.KEYRING}).",
)
@click.option(
    "--key",
    multiple=True,
    help="The fingerprint of a trusted key (default: those of the project, else Gentoo's).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    mirror: tuple[str, ...],
    arch: str | None,
    keyring: Path | None,
    key: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the stage3 tarballs on a Gentoo mirror.

    The signature of the list is verified. Each line has the name for `variant` in a
    seed, the date of the newest build, and its size. In a project, it also has the
    seeds that use the tarball, and their pins. The command works outside of a project
    too:

    \b
      stagewright seeds --keyring gentoo-release.asc --arch arm64
    """
    session = session_or_none(ctx, reads_only=True)
    found = list_mirror(session.project if session else None, ListingRequest(mirror, arch, keyring, key))
    if as_json:
        print(json.dumps(_data(found), indent=2))
        return
    width = max(len(tarball.variant) for tarball in found.tarballs)
    for tarball in found.tarballs:
        notes = ", ".join(_note(use, tarball) for use in found.uses[tarball.variant])
        print(f"{tarball.variant:<{width}}  {tarball.date}  {size(tarball.size):>9}  {notes}".rstrip())


def _data(found: MirrorListing) -> dict[str, Any]:
    variants = [
        {
            "variant": tarball.variant,
            "date": tarball.date,
            "file": tarball.file,
            "size": tarball.size,
            "seeds": [asdict(use) for use in found.uses[tarball.variant]],
        }
        for tarball in found.tarballs
    ]
    return {"mirrors": list(found.mirrors), "arch": found.arch, "variants": variants}


def _note(use: SeedUse, tarball: gentoo.StageTarball) -> str:
    if use.pinned is None:
        return f"seed {use.name}, not pinned yet"
    day = gentoo.day_of(gentoo.stamp_of(use.pinned, tarball.variant))
    return f"seed {use.name}, pinned to {'this one' if use.pinned == tarball.file else f'that of {day}'}"
