"""``stagewright log``."""

from __future__ import annotations

import sys
import time

import click

from stagewright.cli.common import session_of, stage_argument


@click.command(name="log")
@stage_argument
@click.option("-f", "--follow", is_flag=True, help="Keep printing while the log grows, until Ctrl-C.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the files of all logs instead, newest last.")
@click.pass_context
def command(ctx: click.Context, target: str, follow: bool, listing: bool) -> None:
    """Print the log of the last build of a stage, seed or test.

    The log has everything that the commands of the build printed, and each command
    line. A failed build has a log too.

    \b
      stagewright log desktop
      stagewright log --follow desktop      while it is built
    """
    logs = session_of(ctx, reads_only=True).logs(target)
    if listing:
        print("\n".join(map(str, logs)))
        return
    with logs[-1].open(encoding="utf-8", errors="replace") as stream:
        while True:
            sys.stdout.write(stream.read())
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.3)
