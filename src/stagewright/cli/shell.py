"""``stagewright shell``."""

from __future__ import annotations

import sys

import click

from stagewright.cli.common import session_of, stage_argument
from stagewright.ui.plain import Plain


@click.command(name="shell", context_settings={"ignore_unknown_options": True})
@stage_argument
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@click.pass_context
def command(ctx: click.Context, target: str, words: tuple[str, ...]) -> int:
    """Enter the root of a stage, or run a command in it.

    The root has the same mounts, environment and /etc/portage as the build of the
    STAGE. After a failed build this is the root as the build left it, and changes to it
    stay until the next build. Otherwise it is the root that a build starts from, and
    changes to it are discarded. With a COMMAND, that runs instead of a shell, and its
    exit code is that of stagewright.

    \b
      stagewright shell desktop
      stagewright shell desktop emerge --info
    """
    return session_of(ctx, Plain(sys.stderr)).shell(target, words)
