"""``stagewright log``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from stagewright.cli.common import session_of, stage_argument
from stagewright.engine.folders_of_tests import consoles
from stagewright.engine.test_runs import results_folder
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.text import printable


@click.command(name="log")
@stage_argument
@click.option("-f", "--follow", is_flag=True, help="Keep printing while the log grows, until Ctrl-C.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the files of all logs instead, newest last.")
@click.option("-t", "--times", is_flag=True, help="Print the console of a test instead, each line with its time.")
@click.pass_context
def command(ctx: click.Context, target: str, follow: bool, listing: bool, times: bool) -> None:
    """Print the log of the last build of a stage, seed or test.

    The log has everything that the commands of the build printed, and each command
    line. A failed build has a log too.

    \b
      stagewright log desktop
      stagewright log --follow desktop      while it is built
      stagewright log --times iso-uefi      what the machine of a test printed
    """
    session = session_of(ctx, reads_only=True)
    if times and (follow or listing):
        raise StagewrightError(Reason.USAGE, "--times: not together with --follow or --list")
    if times:
        plan = session.plan([target])
        _print_consoles(consoles(plan, session.store, lambda: results_folder(plan, None)))
        return
    logs = session.logs(target)
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


def _print_consoles(files: Sequence[Path]) -> None:
    """Print consoles, with a heading if there are several machines. Times are seconds since the start."""
    for file in files:
        if len(files) > 1:
            print(f"== {file.parent.name}")
        sys.stdout.write(printable(file.read_text(encoding="utf-8", errors="replace")))
