"""``stagewright log``."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from stagewright.cli.common import optional_stage_argument, session_of
from stagewright.engine.folders_of_tests import consoles, plain_consoles
from stagewright.engine.session import Session
from stagewright.engine.test_runs import results_folder
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.streams import note
from stagewright.ui.text import printable


@click.command(name="log")
@optional_stage_argument
@click.option("-f", "--follow", is_flag=True, help="Keep printing while the log grows, until Ctrl-C.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the files of all logs instead, newest last.")
@click.option("-t", "--times", is_flag=True, help="Print the console of a test instead, each line with its time.")
@click.option("--json", "as_json", is_flag=True, help="With --list: print files, times and sizes as JSON.")
@click.pass_context
def command(ctx: click.Context, *, target: str | None, follow: bool, listing: bool, times: bool, as_json: bool) -> None:
    """Print the log of the last build of a stage, seed or test.

    Without a name this is the build that failed last, or the last build if none failed.
    The log has everything that the commands of the build printed, and each command
    line. A failed build has a log too. For a test of a virtual machine, what the
    machine printed follows.

    \b
      stagewright log                       the last failure
      stagewright log desktop
      stagewright log --follow desktop      while it is built
      stagewright log --times iso-uefi      what the machine of a test printed
    """
    session = session_of(ctx, reads_only=True)
    if as_json and not listing:
        raise StagewrightError(Reason.USAGE, "--json: only together with --list", hint="add --list")
    if times and (follow or listing):
        raise StagewrightError(Reason.USAGE, "--times: not together with --follow or --list")
    name = target or _last(session)
    if times:
        plan = session.plan([name])
        _print_consoles(consoles(plan, session.store, lambda: results_folder(plan, None)))
        return
    try:
        logs = session.logs(name)
    except StagewrightError as error:
        if error.reason is not Reason.NOT_BUILT or not _print_of_test(session, name):
            raise
        return
    if listing:
        print(json.dumps([_data(log) for log in logs], indent=2) if as_json else "\n".join(map(str, logs)))
        return
    printed = _print(logs[-1], follow=follow)
    if not _print_of_test(session, name) and not printed:
        note(f"{name}: the commands of the build printed nothing ({logs[-1]})")
    for node, failure in session.failures_elsewhere(name).items():
        note(f"{node}: built on {failure.machine}, a machine of a farm")
        note(f"its root: {failure.look(node)}")


def _data(log: Path) -> dict[str, object]:
    """Return path, size in bytes and time of the last change (seconds since 1970) of a log."""
    found = log.stat()
    return {"path": str(log), "size": found.st_size, "changed": found.st_mtime}


def _last(session: Session) -> str:
    """Return the node that failed last, or else that was built last. Raises: NOT_BUILT."""
    if failed := session.last(failed=True):
        note(f"the last failure is {failed}")
        return failed
    if built := session.last(failed=False):
        note(f"no build failed; the last one is {built}")
        return built
    raise StagewrightError(Reason.NOT_BUILT, "nothing was built here", hint="stagewright build")


def _print(log: Path, *, follow: bool) -> bool:
    """Print a log. Return True if it has any text."""
    with log.open(encoding="utf-8", errors="replace") as stream:
        while True:
            sys.stdout.write(stream.read())
            sys.stdout.flush()
            if not follow:
                return stream.tell() > 0
            time.sleep(0.3)


def _print_of_test(session: Session, name: str) -> bool:
    """Print the consoles of a test. Return False if it has none."""
    plan = session.plan([name]) if name not in session.graph.nodes or name.startswith("test:") else None
    found = plain_consoles(plan, session.store, lambda: results_folder(plan, None)) if plan else []
    _print_consoles(found, times=False)
    return bool(found)


def _print_consoles(files: Sequence[Path], *, times: bool = True) -> None:
    """Print consoles, with a heading if there are several machines. Times are seconds since the start."""
    for file in files:
        if len(files) > 1:
            print(f"== {file.parent.name}")
        text = file.read_text(encoding="utf-8", errors="replace")
        sys.stdout.write(printable(text if times else _TIME.sub("", text)))


_TIME = re.compile(r"^\[ *\d+\.\d{3}\] ?", re.MULTILINE)
"""The time of a line of a console."""
