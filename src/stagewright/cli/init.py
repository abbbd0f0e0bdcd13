"""``stagewright init``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from stagewright.cli.common import store_of
from stagewright.engine.project_files import give_to_invoker
from stagewright.errors import Exit, Place, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.schema import schema
from stagewright.project.templates import (
    PROJECT_FILE,
    SCHEMA_FILE,
    SPECS,
    TEMPLATES,
    copy_template,
    ignore_results,
    name_for,
    name_schema,
    set_name,
    template,
)
from stagewright.ui.streams import note
from stagewright.ui.text import plural


def _names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in TEMPLATES if name.startswith(incomplete)]


@click.command(name="init")
@click.argument("wanted", metavar="[TEMPLATE]", required=False, shell_complete=_names)
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--list", "listed", is_flag=True, help="List the templates.")
@click.option("--name", help="The name of the project; default: the name of the folder.")
@click.option(
    "--specs",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="With the template catalyst: a spec, or a folder of specs. Can be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="With --list: print the templates as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    wanted: str | None,
    folder: Path | None,
    listed: bool,
    name: str | None,
    specs: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Start a project from a template.

    The folder is created; without FOLDER, it is the current one. Files that exist
    already are never overwritten. On a terminal, `init` asks for what is not given.

    \b
      stagewright init --list
      stagewright init stage4 my-system
      stagewright init live rescue --name rescue
      stagewright init catalyst my-release --specs releases/specs/amd64
    """
    if listed:
        _list(as_json)
        return Exit.OK
    if wanted is None:
        wanted = _ask_template()
        folder = Path(click.prompt("Folder", default=wanted, err=True))
    chosen = template(wanted)
    folder = ctx.obj["directory"] / (folder or Path())
    project = name or name_for(folder) or chosen.name
    if specs and chosen.name != "catalyst":
        raise StagewrightError(Reason.USAGE, "--specs is for the template catalyst", hint="stagewright init catalyst")
    if chosen.name == "catalyst":
        return _from_specs(ctx, folder, project, specs)
    with _given(folder):
        files = copy_template(chosen.name, folder, project)
        _write_schema(folder)
    print(f"{folder}: project {project} from the template {chosen.name}, {plural(len(files), 'file')}")
    _next(folder)
    return Exit.OK


def _list(as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(item) for item in TEMPLATES.values()], indent=2))
        return
    for item in TEMPLATES.values():
        print(f"{item.name:<10}{item.summary} (starts from {item.start})")


def _ask_template() -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise StagewrightError(Reason.USAGE, "no template given", hint="stagewright init --list shows the templates")
    for number, item in enumerate(TEMPLATES.values(), 1):
        note(f"{number}  {item.name:<10}{item.summary}")
    known = [*TEMPLATES, *(str(number) for number in range(1, len(TEMPLATES) + 1))]
    answer = click.prompt("Template", default="stage4", type=click.Choice(known), show_choices=False, err=True)
    return list(TEMPLATES)[int(answer) - 1] if answer.isdecimal() else str(answer)


def _from_specs(ctx: click.Context, folder: Path, project: str, specs: tuple[Path, ...]) -> int:
    from stagewright.dropin.new_project import write_new_project
    from stagewright.dropin.project import Specs

    if folder.exists() and os.listdir(folder):  # noqa: PTH208  one name is enough
        raise StagewrightError(
            Reason.USAGE, "the folder is not empty", place=Place(folder), hint="give a new or an empty folder"
        )
    with _given(folder):
        left_out = write_new_project(Specs(specs or (SPECS / "specs",), (), {}, {}), folder, store_of(ctx))
        set_name(folder / PROJECT_FILE, project)
        name_schema(folder / PROJECT_FILE)
        ignore_results(folder)
        _write_schema(folder)
    origin = ", ".join(map(str, specs)) or "the template catalyst, with example specs: --specs names your own"
    print(f"{folder}: project {project} from {origin}")
    for text in left_out:
        note(f"left out: {text}")
    _next(folder)
    return Exit.INVALID if left_out else Exit.OK


@contextlib.contextmanager
def _given(folder: Path) -> Iterator[None]:
    """Give what the block writes to the user who started this command by sudo(8)."""
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else None
    yield
    if before is None:
        give_to_invoker(folder)
    else:
        for path in folder.iterdir():
            if path.name not in before:
                give_to_invoker(path)


def _write_schema(folder: Path) -> None:
    (folder / SCHEMA_FILE).write_text(json.dumps(schema(kinds()), indent=2) + "\n", encoding="utf-8")


def _next(folder: Path) -> None:
    place = "" if folder.resolve() == Path.cwd() else f" -C {folder}"
    note(f"next: edit {folder / PROJECT_FILE}, then: stagewright{place} check; stagewright{place} plan")
