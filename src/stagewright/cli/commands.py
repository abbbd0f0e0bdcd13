"""Groups of commands. The module of a command is imported only when the command runs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stagewright.errors import nearest
from stagewright.lazy_pattern import lazy_pattern
from stagewright.ui.streams import is_abandoned


class ReaderGone(Exception):  # noqa: N818  it is not an error
    """The reader of standard output is gone, as in ``| head``.

    A command writes to standard output when its work is done, so nothing is lost. BrokenPipeError itself cannot be
    used, because click turns it into exit code 1.
    """


PROJECT_OPTIONS = (("-C", "--directory"), ("--store",), ("--set",))
"""Options of the whole program that may also stand after the name of a command, unless it has another one."""

NAMES = {"--directory": "directory", "--store": "store", "--set": "given"}


def with_project_options(command: click.Command) -> click.Command:
    """Return a command that accepts the options of the program, too. They are not in its help."""
    taken = {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
    for words in PROJECT_OPTIONS if not isinstance(command, click.Group) else ():
        if not taken.intersection(words):
            name = NAMES[words[-1]]
            many = name == "given"
            option = click.Option(
                [*words, f"_{name}"],
                hidden=True,
                expose_value=False,
                multiple=many,
                type=str if many else click.Path(path_type=Path, file_okay=False),
                callback=functools.partial(_keep, name),
            )
            command.params.append(option)
    return command


def _keep(name: str, ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep the value of an option of the program that stands after the name of a command."""
    if value:
        root = ctx.find_root()
        root.obj = root.obj or {}
        root.obj[name] = value if name != "given" else (*root.obj.get(name, ()), *value)


class Commands(click.Group):
    """A group with a table of the modules of its commands. The error for an unknown command names the nearest one."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.modules = modules

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises :class:`ReaderGone` if it is stopped by a lost reader of standard output."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise (ReaderGone() if is_abandoned(sys.stdout) else RuntimeError(str(error))) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands, the first ones to learn first."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this name."""
        if cmd_name not in self.modules:
            return None
        command: click.Command = importlib.import_module(self.modules[cmd_name]).command
        return with_project_options(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands for a help page, as click does, but without importing the commands."""
        limit = formatter.width - 6 - max(map(len, self.modules))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short_help(ctx, name, limit)) for name in self.list_commands(ctx)])

    def _short_help(self, ctx: click.Context, name: str, limit: int) -> str:
        command: click.Command | None = click.Command(name, help=summary_of(self.modules[name]))
        if not (command and command.help):
            command = self.get_command(ctx, name)
        return command.get_short_help_str(limit) if command else ""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line, as click does, but with a hint for an unknown one."""
        if args and args[0] not in self.modules:
            raise click.UsageError(f"unknown command {args[0]!r}; {nearest(args[0], self.modules)}", ctx)
        return super().resolve_command(ctx, args)


_SUMMARY = lazy_pattern(
    r'^@click\.(?:command|group)\(.*?^def \w+\(.*?\n    """(.*?)(?:\n\n|""")', re.DOTALL | re.MULTILINE
)
"""The first paragraph of the docstring of a command, in the text of its module."""


def summary_of(module: str) -> str | None:
    """Return the summary of a command without importing its module, which takes half a second for all; None if unclear.

    Hidden and deprecated commands, which a list marks or leaves out, are imported.
    """
    spec = importlib.util.find_spec(module)
    with contextlib.suppress(OSError):
        text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        found = _SUMMARY.search(text)
        if found and not re.search(r"\b(hidden|deprecated|short_help)=", found[0]):
            return found[1]
    return None
