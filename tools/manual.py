"""Write the man pages and the completion scripts of the commands: ``python -m tools.manual DIR``.

DIR is a prefix such as build/usr: ``share/man/man1/stagewright-build.1`` and the files that shells look for are below
it. All pages are made from the help of the commands.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from stagewright import __version__
from stagewright.cli.completion import FILES, script
from stagewright.cli.main import group

MAN = "share/man/man1"

EXIT_CODES = (
    ("0", "Done."),
    ("1", "A build or a test failed."),
    ("2", "The project or the command line has an error."),
    ("3", "This machine lacks a program, a right or a feature."),
    ("4", "The store cannot be used."),
    ("70", "A defect of Stagewright."),
    ("130", "Interrupted."),
)


def commands(context: click.Context) -> Iterator[click.Context]:
    """Yield the contexts of a command and of all commands below it."""
    yield context
    found = context.command
    if isinstance(found, click.Group):
        for name in found.list_commands(context):
            if command := found.get_command(context, name):
                yield from commands(click.Context(command, info_name=name, parent=context))


def page(context: click.Context) -> str:
    """Return the man page of a command, in the macros of man(7)."""
    command, name = context.command, context.command_path.replace(" ", "-")
    summary, _, text = (command.help or "").partition("\n")
    lines = [f'.TH "{name.upper()}" "1" "{_date()}" "stagewright {__version__}" "Stagewright"', ".SH NAME"]
    lines += [rf"{_text(name)} \- {_text(summary.rstrip('.:'))}", ".SH SYNOPSIS"]
    usage = " ".join(command.collect_usage_pieces(context))
    lines += [rf"\fB{_text(context.command_path)}\fR {_text(usage)}", ".SH DESCRIPTION", _text(summary)]
    lines += _paragraphs(text)
    given = [item for item in command.get_params(context) if isinstance(item, click.Option)]
    options = [record for item in given if (record := item.get_help_record(context))]
    if options:
        lines.append(".SH OPTIONS")
    for words, help_text in options:
        lines += [".TP", rf"\fB{_text(words)}\fR", _text(help_text or "")]
    lines += _commands(context)
    if context.parent is None:
        lines.append(".SH EXIT STATUS")
        for code, meaning in EXIT_CODES:
            lines += [".TP", rf"\fB{code}\fR", meaning]
    lines += _see_also(context)
    return "\n".join(lines) + "\n"


def _date() -> str:
    """Return the day of SOURCE_DATE_EPOCH, or else today."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")


def _commands(context: click.Context) -> Iterator[str]:
    found = context.command
    if not isinstance(found, click.Group):
        return
    yield ".SH COMMANDS"
    for name in found.list_commands(context):
        if command := found.get_command(context, name):
            yield from (".TP", rf"\fB{_text(name)}\fR", _text(command.get_short_help_str(100)))


def _see_also(context: click.Context) -> list[str]:
    found = context.command
    pages = [context.parent.command_path] if context.parent else []
    pages += [f"{context.command_path} {name}" for name in getattr(found, "modules", ())]
    names = [rf"\fB{_text(path.replace(' ', '-'))}\fR(1)" for path in pages]
    return [".SH SEE ALSO", ",\n".join(names)] if names else []


def _paragraphs(text: str) -> Iterator[str]:
    r"""Yield the paragraphs of a help text. Those that begin with ``\b`` keep their lines."""
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line.rstrip() for line in part.split("\n") if line.strip()]
        if lines and lines[0].strip() == "\b":
            yield from (".PP", ".nf", *(_text(line.removeprefix("    ")) for line in lines[1:]), ".fi")
        elif lines:
            yield from (".PP", _text(" ".join(line.strip() for line in lines)))


def _text(text: str) -> str:
    """Return a text for roff: hyphens that can be copied, and no line that is a request."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("\b", "")
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain


def write(folder: Path) -> list[Path]:
    """Write all pages and scripts below a prefix, and return their paths."""
    context = click.Context(group, info_name="stagewright", **group.context_settings)
    files = {f"{MAN}/{one.command_path.replace(' ', '-')}.1": page(one) for one in commands(context)}
    files |= {path: script(shell) for shell, path in FILES.items()}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [folder / name for name in files]


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        print(written)
