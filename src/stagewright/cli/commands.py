"""Groups of commands, each command in a module that is imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from stagewright.errors import nearest


class ReaderGone(Exception):  # noqa: N818  nothing is wrong
    """Nobody reads our output any more, as in ``| head``. (Of BrokenPipeError itself click makes exit code 1.)"""


class Commands(click.Group):
    """Finds commands by a table of modules, and names the nearest one for a misspelt word."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.modules = modules

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a newcomer meets them."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in self.modules:
            return None
        command: click.Command = importlib.import_module(self.modules[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click's, with a hint."""
        if args and args[0] not in self.modules:
            raise click.UsageError(f"no such command {args[0]!r}: {nearest(args[0], self.modules)}", ctx)
        return super().resolve_command(ctx, args)
