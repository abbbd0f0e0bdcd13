"""Pages of the documentation that are generated when the site is built: they cannot be stale."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from stagewright.cli.main import group
from stagewright.events import FORMAT, Event
from stagewright.kinds.common.manifest_schema import manifest_schema

DECISIONS = Path(__file__).parents[1] / "docs" / "decisions"


def commands() -> str:
    """Return the reference of all commands: description, arguments and options, as their --help shows them."""
    lines = ["# Commands", "", "Written from the same text as `--help`.", ""]
    for words, command in _walk("stagewright", group):
        ctx = click.Context(command, info_name=words)
        lines += [f"{'#' * min(4, words.count(' ') + 2)} {words}", "", *_body(command, ctx), ""]
    return "\n".join(lines)


def _walk(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield from _walk(f"{words} {name}", found)


def _body(command: click.Command, ctx: click.Context) -> list[str]:
    usage = " ".join([ctx.info_name or "", *command.collect_usage_pieces(ctx)])
    lines = ["```text", usage, "```", ""]
    for part in inspect.cleandoc(command.help or "").split("\n\n"):
        if part.startswith("\b"):
            lines += ["```text", *part.splitlines()[1:], "```", ""]
        else:
            lines += [_escaped(part), ""]
    records = [record for parameter in command.params if (record := parameter.get_help_record(ctx))]
    if records:
        lines += ["| option | |", "|---|---|"]
        lines += [f"| `{_cell(option)}` | {_cell(_escaped(text))} |" for option, text in records]
    return lines


def _escaped(text: str) -> str:
    return re.sub(r"([<*_\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def events() -> str:
    """Return the reference of the events that `--progress json` prints."""
    lines = [
        "# Events",
        "",
        "`stagewright build --progress json` prints one JSON object on each line (`stagewright schema events` prints",
        f"its JSON schema). `RunStarted` has the version of the format: {FORMAT}. The key `event` is the name of the",
        "event, `time` is in seconds since the epoch. Keys without a value are left out. New events and new keys can",
        "appear in any version: ignore those that you do not know. Meanings do not change.",
        "",
    ]
    for event in _kinds(Event):
        lines += [f"## {event.__name__}", "", inspect.cleandoc(event.__doc__ or ""), "", "| key | type |", "|---|---|"]
        lines += [f"| `{item.name}` | `{_cell(str(item.type))}` |" for item in dataclasses.fields(event)]
        lines += [""]
    return "\n".join(lines)


def _kinds(base: type[Event]) -> Iterator[type[Event]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def decisions() -> str:
    """Return the list of all decisions, with links."""
    lines = ["# Decisions", "", "Choices that a newcomer would question, half a page each.", ""]
    for page in sorted(DECISIONS.glob("[0-9]*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({page.name})")
    return "\n".join(lines) + "\n"


def manifests() -> str:
    """Return the reference of manifests, from their schema."""
    shape = manifest_schema()
    lines = [
        "# Manifests",
        "",
        "Each file for users has a file `NAME.manifest.json`, which says what it is made of. `format` is its version;",
        "new keys can appear in the same version. `stagewright schema manifest` prints the JSON schema.",
        "",
        *_keys("The file", shape),
    ]
    for name, part in shape["$defs"].items():
        if part.get("properties"):
            lines += _keys(name, part)
    return "\n".join(lines)


def _keys(title: str, shape: dict[str, Any]) -> list[str]:
    lines = [f"## {title}", "", _escaped(shape.get("description", "").split("\n\n")[0].replace("``", "`")), ""]
    lines += ["| key | type | |", "|---|---|---|"]
    for name, value in shape["properties"].items():
        needed = "" if name in shape.get("required", ()) else " (optional)"
        lines.append(f"| `{name}` | {_type(value)}{needed} | {_cell(_escaped(value.get('description', '')))} |")
    return [*lines, ""]


def _type(shape: dict[str, Any]) -> str:
    """Return the type of a value in words."""
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in shape:
        return " or ".join(_type(one) for one in shape["anyOf"] if one.get("type") != "null")
    if "const" in shape:
        return f"`{json.dumps(shape['const'])}`"
    if shape.get("type") == "array":
        return f"list of {_type(shape.get('items', {}))}"
    if shape.get("type") == "object" and isinstance(shape.get("additionalProperties"), dict):
        return f"table of {_type(shape['additionalProperties'])}"
    return {"object": "table", "string": "text", "integer": "number"}.get(shape.get("type", ""), "any value")


GENERATED: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/events.md": events,
    "reference/manifest.md": manifests,
    "decisions/index.md": decisions,
}
"""Generated pages by their path below docs/."""
