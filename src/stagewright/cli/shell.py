"""``stagewright shell``."""

from __future__ import annotations

import sys

import click

from stagewright.cli.common import session_of, stage_argument, store_of
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.plain import Plain


@click.command(name="shell", context_settings={"allow_interspersed_args": False})
@click.option("--before", is_flag=True, help="Enter the root that the build of the STAGE starts from.")
@click.option("--on-worker", is_flag=True, help="Enter the root that a failed build for a farm left on this machine.")
@stage_argument
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND...]")
@click.pass_context
def command(ctx: click.Context, target: str, words: tuple[str, ...], *, before: bool, on_worker: bool) -> int:
    """Enter the root of a stage, or run a command in it.

    This is the root that the build of the STAGE has made; changes to it are discarded.
    After a failed build it is the root as the build left it, and changes to it stay
    until the next build. With --before, or if the STAGE is not built, it is the root
    that a build starts from, with the mounts, the environment and the /etc/portage of
    the build; changes to it are discarded.

    Options come before the STAGE. With a COMMAND, that runs instead of a shell, and its
    exit code is that of stagewright.

    With --on-worker, no project is needed: the machine is a worker of a farm, and STAGE
    is the id of the node, as the failed build on the farm prints it.

    \b
      stagewright shell desktop
      stagewright shell desktop -- ls -l /boot
      stagewright shell --before desktop emerge --info
    """
    if words and words[0] == "--":
        words = words[1:]
    elif words and words[0].startswith("-"):
        hint = f"options come before the stage: stagewright shell {words[0]} {target}; commands come after --"
        raise StagewrightError(Reason.USAGE, f"{words[0]}: not a command", hint=hint)
    if on_worker and before:
        raise StagewrightError(Reason.USAGE, "--on-worker: not together with --before")
    if on_worker:
        from stagewright.engine.enter import enter_on_worker

        return enter_on_worker(store_of(ctx), target, words, Plain(sys.stderr))
    return session_of(ctx, Plain(sys.stderr)).shell(target, words, before=before)
