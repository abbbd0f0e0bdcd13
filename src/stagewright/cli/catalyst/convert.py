"""``stagewright catalyst convert``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from stagewright.cli.catalyst.report import print_left_out, strict_option
from stagewright.cli.common import store_of
from stagewright.cli.options import specs_options
from stagewright.dropin.project import Specs, load_specs
from stagewright.dropin.written import write_and_read
from stagewright.errors import Exit, Place, ProblemsError, Reason, StagewrightError
from stagewright.ui.streams import note
from stagewright.ui.text import error_text, plural


@click.command(name="convert")
@specs_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder of the project; it must be new or empty.",
)
@strict_option
@click.pass_context
def command(
    ctx: click.Context,
    specs: Specs,
    output: Path,
    strict: bool,
) -> int:
    """Convert specs to a Stagewright project.

    The results of the project have the same keys as those of the specs, so nothing is
    built twice. Confdirs, scripts and overlays are copied below files/; seeds and the
    repositories of --repo become links. Specs that differ only in some words become one
    entry with a matrix. @TIMESTAMP@ and @DATESTAMP@ become variables. Comments name the
    specs.

    Keys that are not supported are reported, left out, and listed at the top of the
    project file. Specs with errors are left out with the specs that are built on them,
    and so are media for architectures without media. The exit code is then 2. The
    written project is read again: it is the one that `plan` shows.

    \b
      stagewright catalyst convert releases/specs/amd64 --conf catalyst.conf -o amd64
      stagewright -C amd64 plan
    """
    store = store_of(ctx)
    if output.exists() and (not output.is_dir() or os.listdir(output)):  # noqa: PTH208  one name is enough
        hint = "give a new folder, or empty this one"
        raise StagewrightError(Reason.USAGE, "the folder is not empty", place=Place(output), hint=hint)
    loaded = load_specs(specs, store).usable(strict=strict, keep_refused=True)
    project = loaded.project(lenient=True)
    for name, source in write_and_read(loaded, project, output, store.path.absolute()):
        note(f"{name}\t{source}")
    for problem in project.missing:
        note(f"missing: {problem.place}: {problem.hint}")
    stages = sum(draft.table == "stages" for draft in loaded.converted.drafts)
    print(f"{output}: {plural(len(loaded.release.members), 'spec')}, {plural(stages, 'stage')}")
    if loaded.converted.refused:
        note(error_text(ProblemsError(loaded.converted.refused)))
    print_left_out(loaded)
    return Exit.INVALID if loaded.converted.refused or loaded.left_out else Exit.OK
