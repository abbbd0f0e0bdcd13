"""``stagewright seeds``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from stagewright.arch import Arch, host_machine
from stagewright.cli.common import session_of
from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring as keyring_of
from stagewright.kinds.seeds.mirror import MirrorSeed
from stagewright.project.model import Project
from stagewright.seeds import gentoo
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
    help=f"A file with OpenPGP public keys (default: that of the project, else {gentoo.KEYRING}).",
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
    """List the stage3 tarballs on a Gentoo mirror; their signed list is verified.

    Each line has the name for `variant` in a seed, the date of the newest build, and
    its size. In a project, it also has the seeds that use the tarball, and their pins.
    The command works outside of a project too:

    \b
      stagewright seeds --keyring gentoo-release.asc --arch arm64
    """
    project = _project(ctx)
    seeds = _seeds(project)
    first = next(iter(seeds.values()), None)
    machine = arch or (first and gentoo.directory(first.variant, first.arch)) or _arch(project)
    mirrors = list(mirror) or (first.mirrors if first else [gentoo.DEFAULT_MIRROR])
    keys = list(key) or (first.keys if first else list(gentoo.RELEASE_KEYS))
    file = keyring or (project.path(first.keyring) if project and first and first.keyring else gentoo.KEYRING)
    with (
        tempfile.TemporaryDirectory(prefix="seeds-") as folder,
        keyring_of([gentoo.existing_keyring(file)], keys) as trusted,
    ):
        found = gentoo.ReleaseMirror(mirrors, gentoo.folder_of(machine), trusted, Path(folder)).listing()
    pins = project.lock.seeds if project else {}
    takers = {
        stage.variant: [_taker(name, pins) for name, one in seeds.items() if one.variant == stage.variant]
        for stage in found
    }
    if as_json:
        _print_json(mirrors, machine, found, takers)
    else:
        _print(found, takers)


def _project(ctx: click.Context) -> Project | None:
    """Return the project; None if there is none, because the command is useful before."""
    try:
        return session_of(ctx).project
    except StagewrightError as error:
        if error.reason is Reason.NO_PROJECT:
            return None
        raise


def _seeds(project: Project | None) -> dict[str, MirrorSeed]:
    entries = project.entries["seeds"].values() if project else ()
    return {entry.name: entry.model for entry in entries if isinstance(entry.model, MirrorSeed)}


def _arch(project: Project | None) -> str:
    return project.info.arch if project else Arch(host_machine().arch).value


def _taker(name: str, pins: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"name": name, "pinned": pins.get(name, {}).get("file")}


def _print_json(
    mirrors: Sequence[str], arch: str, found: Sequence[gentoo.StageTarball], takers: Mapping[str, Any]
) -> None:
    variants = [
        {
            "variant": stage.variant,
            "date": stage.date,
            "file": stage.file,
            "size": stage.size,
            "seeds": takers[stage.variant],
        }
        for stage in found
    ]
    print(json.dumps({"mirrors": list(mirrors), "arch": arch, "variants": variants}, indent=2))


def _print(found: Sequence[gentoo.StageTarball], takers: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    width = max(len(stage.variant) for stage in found)
    for stage in found:
        notes = [_note(taker, stage) for taker in takers[stage.variant]]
        print(f"{stage.variant:<{width}}  {stage.date}  {size(stage.size):>9}  {', '.join(notes)}".rstrip())


def _note(taker: Mapping[str, Any], stage: gentoo.StageTarball) -> str:
    pinned = taker["pinned"]
    if pinned is None:
        return f"seed {taker['name']}, not pinned yet"
    day = gentoo.day_of(gentoo.stamp_of(pinned, stage.variant))
    return f"seed {taker['name']}, pinned to {'this one' if pinned == stage.file else f'that of {day}'}"
