"""``stagewright summary``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from stagewright.cli.common import session_of, targets_argument
from stagewright.project.model import Entry, Project
from stagewright.project.source import KeyPath
from stagewright.ui.style import Style, Styled, write_line

DEFAULT = "default"


@dataclass(frozen=True)
class Value:
    """A resolved setting: its dotted name, its value as JSON-able data, and where it comes from."""

    name: str
    value: Any
    origin: str


@click.command(name="summary")
@targets_argument
@click.option("--all", "everything", is_flag=True, help="Also list settings that have their default.")
@click.option("--json", "as_json", is_flag=True, help="Print all settings as JSON.")
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Show every setting, and where it comes from.

    Each line has a setting, its value, and where it comes from: a place in a file, --set,
    a variable of the environment, or the default. Without a name, this is the project:
    its version, its variables, its time stamp.

    \b
      stagewright summary
      stagewright summary system --all
    """
    session = session_of(ctx, reads_only=True)
    project = session.project
    names = session.check(targets, keys=False) if targets else ()
    entries = {entry.name: entry for entry in project.all_entries()}
    found = {name: list(_settings(entries[name], project.folder)) for name in names if name in entries}
    if not targets:
        found = {project.info.name: list(_project(project))}
    if as_json:
        rows = {name: [asdict(value) for value in values] for name, values in found.items()}
        print(json.dumps(rows, indent=2))
        return
    for name, override in project.given.items() if targets else ():
        write_line([f"{name} = {json.dumps(override.value)}  ", Styled(override.origin, Style.DIM)])
    for name, values in found.items():
        kind = f" ({entries[name].kind})" if targets else ""
        write_line([Styled(name, Style.BOLD), kind])
        _print([value for value in values if everything or value.origin != DEFAULT])
        left = sum(value.origin == DEFAULT for value in values)
        if left and not everything:
            write_line([Styled(f"  {left} more have their defaults: --all lists them", Style.DIM)])


def _print(values: list[Value]) -> None:
    texts = [json.dumps(value.value, ensure_ascii=False) for value in values]
    name_width = max((len(value.name) for value in values), default=0)
    text_width = min(max(map(len, texts), default=0), 50)
    for value, text in zip(values, texts, strict=True):
        write_line([f"  {value.name:<{name_width}}  {text:<{text_width}}  ", Styled(value.origin, Style.DIM)])


def _settings(entry: Entry, folder: Path) -> Iterator[Value]:
    data = {"kind": entry.kind, **entry.model.model_dump(mode="json")}
    for path, value in _flat(data, ()):
        yield Value(".".join(map(str, path)), value, _origin(entry, path, folder))


def _flat(data: dict[str, Any], prefix: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def _origin(entry: Entry, path: KeyPath, folder: Path) -> str:
    """Return the place of a value, or of the table that it is in; "default" if no file has it."""
    if path == ("kind",) and path not in entry.places:
        path = ()
    found = next((entry.places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in entry.places), None)
    if not path:
        found = entry.place()
    if found is None:
        return DEFAULT
    file = found.file.relative_to(folder) if found.file.is_relative_to(folder) else found.file
    return f"{file}:{found.line}" if found.line else str(file)


def _project(project: Project) -> Iterator[Value]:
    """Yield the settings of the project itself, and its variables."""
    given = {name: override.origin for name, override in project.given.items()}
    file = "stagewright.toml"
    yield Value("name", project.info.name, file)
    yield Value("version", project.info.version, given.get("version", _of_model(project, "version")))
    yield Value("arch", project.info.arch, _of_model(project, "arch"))
    dated = project.info.source_date_epoch is not None
    yield Value("source_date_epoch", project.epoch, file if dated else "stagewright.lock")
    for name, value in project.variables.items():
        if name not in ("name", "version", "arch"):
            yield Value(f"variables.{name}", value, given.get(name, "built in" if name == "date" else file))
    for name, repo in project.repos.items():
        state = project.pinned_tree(name) or repo.path or "not pinned"
        yield Value(f"repos.{name}", state, "stagewright.lock" if repo.moves else file)


def _of_model(project: Project, name: str) -> str:
    return "stagewright.toml" if name in project.info.model_fields_set else DEFAULT
