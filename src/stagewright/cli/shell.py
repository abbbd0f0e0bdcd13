"""``stagewright shell``."""

from __future__ import annotations

import sys

import click

from stagewright.cli.common import project_of, stage_argument, store_of
from stagewright.engine.enter import enter
from stagewright.engine.plan import make_plan


@click.command(name="shell", context_settings={"ignore_unknown_options": True})
@stage_argument
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@click.pass_context
def command(ctx: click.Context, target: str, words: tuple[str, ...]) -> int:
    """Enter the root of a STAGE, with the same mounts, environment and /etc/portage as its build.

    After a failure it is the root as the failed build left it, and changes stay
    until the next attempt. Otherwise it is the stage's starting point with a layer
    that is thrown away at the end.
    """
    plan = make_plan(project_of(ctx), store_of(ctx), [target])
    return enter(plan, store_of(ctx), list(words), tell=lambda text: print(text, file=sys.stderr))
