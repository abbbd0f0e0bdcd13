"""Groups of commands. The module of a command is imported only when the command runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from stagewright.errors import nearest
from stagewright.ui.streams import is_abandoned


class ReaderGone(Exception):  # noqa: N818  it is not an error
    """The reader of standard output is gone, as in ``| head``.

    A command writes to standard output when its work is done, so nothing is lost. BrokenPipeError itself cannot be
    used, because click turns it into exit code 1.
    """


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
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line, as click does, but with a hint for an unknown one."""
        if args and args[0] not in self.modules:
            raise click.UsageError(f"unknown command {args[0]!r}; {nearest(args[0], self.modules)}", ctx)
        return super().resolve_command(ctx, args)
