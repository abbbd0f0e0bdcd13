"""``stagewright reproduce``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from stagewright.cli.build import build_options
from stagewright.cli.common import progress_listener, store_folder
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.reproduce import Reproduction, Sources, find_originals, own_store, reproduce
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.differences import difference_lines
from stagewright.ui.streams import note
from stagewright.ui.text import plural, shown

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True)


@click.command(name="reproduce")
@click.argument("path", metavar="FILE|MANIFEST|FOLDER", type=click.Path(path_type=Path))
@build_options
@click.option("--project", type=_FOLDER, help="Take the project from this folder, as it is now.")
@click.option("--git", metavar="ADDRESS", default="", help="Fetch the commit from this repository (address or path).")
@click.option("--keep", is_flag=True, help="Keep the store with the second build, and copies of files that differ.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    options: BuildOptions,
    progress: str,
    project: Path | None,
    git: str,
    *,
    keep: bool,
    as_json: bool,
) -> None:
    """Build an artifact again from its manifest and compare.

    PATH is a manifest, an artifact with its manifest in the same folder, or a folder with artifacts, such as a version
    of a release. The manifest names the commit of the project, the pins of its lock, and the version of Stagewright.
    Stagewright fetches the commit, the repositories and the seeds, builds everything from the seeds up in a new store,
    and compares. Nothing is taken from your store or your project.

    If bytes differ, the files that differ inside of the artifact are listed, with their
    packages. Tarballs, squashfs, ISO images and initramfs are looked into; diffoscope
    compares the files further if it is installed. Differences that the project knows
    ([unreproducible.NAME]) are listed with the reason, and are not a failure. The exit code
    is 1 if something else differs.

    The commands of the project run in the sandbox of builds, as in any build. The store is
    temporary, in /var/tmp; --store FOLDER in front of the command names an empty folder
    instead. The same command with the same folder continues after a failure.

    \b
      stagewright reproduce out/demo-1.0.iso
      stagewright --store /srv/again reproduce --keep live/1.0
      stagewright reproduce --git ~/demo out/demo-1.0.iso.manifest.json
    """
    originals = find_originals(path)
    named = store_folder(ctx) if ctx.find_root().get_parameter_source("store") is ParameterSource.COMMANDLINE else None
    progress = "plain" if progress == "json" and as_json else progress
    found = []
    with own_store(named, keep=keep) as store:
        with progress_listener(progress) as listener:
            for original in originals:
                found.append(reproduce(original, store, Sources(project, git), options, [listener]))
        if keep:
            note(f"the second build is in {store}")
    if as_json:
        print(json.dumps({"artifacts": [one.to_dict() for one in found]}, indent=2))
    else:
        for line in (line for one in found for line in _report(one)):
            print(line)
    _check(found)


def _check(found: Sequence[Reproduction]) -> None:
    """Raise NOT_REPRODUCED if files differ whose difference the project does not know."""
    failed = [one for one in found if one.unexplained]
    if failed:
        count = sum(len(one.unexplained) for one in failed)
        what = f"{', '.join(one.artifact for one in failed)}: the second build differs ({plural(count, 'file')})"
        hint = "for a difference that is known, add [unreproducible.NAME] with `packages` or `files`, and `why`"
        raise StagewrightError(Reason.NOT_REPRODUCED, what, hint=hint)


def _report(found: Reproduction) -> Iterator[str]:
    same = "the same key" if found.keys[0] == found.keys[1] else "another key"
    if found.is_equal:
        yield f"{found.artifact}: equal bytes ({plural(len(found.compared), 'file')}, {same})"
    else:
        yield f"{found.artifact}: {plural(len(found.differences), 'difference')} ({same})"
    for name in found.absent:
        yield f"  {shown(name)}: not compared: it is not next to the manifest"
    for package in found.packages:
        old, new = (package[side]["name"] if package[side] else "nothing" for side in ("old", "new"))
        yield f"  package {old}, now {new}"
    yield from difference_lines(found.differences)
