"""``stagewright help``."""

from __future__ import annotations

import click

from stagewright.errors import Reason, StagewrightError, nearest


@click.command(name="help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Explain a command, or list all.

    \b
      stagewright help build
      stagewright help netboot serve
    """
    context = ctx.find_root()
    for word in words:
        group = context.command
        found = group.get_command(context, word) if isinstance(group, click.Group) else None
        if not isinstance(group, click.Group) or found is None:
            known = group.list_commands(context) if isinstance(group, click.Group) else []
            hint = nearest(word, known) or f"{context.command_path} has no further commands"
            raise StagewrightError(Reason.USAGE, f"unknown command {word!r}", hint=hint)
        context = click.Context(found, info_name=word, parent=context)
    print(context.get_help())
