"""``stagewright update``."""

from __future__ import annotations

import json

import click

from stagewright.cli.common import progress_listener, progress_option, session_of
from stagewright.cli.complete import complete_pinned
from stagewright.ui.pins import change_lines, version_line


@click.command(name="update")
@click.argument("names", nargs=-1, metavar="[REPOSITORY|SEED]...", shell_complete=complete_pinned)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would move; the lock is not written.")
@click.option("--packages", is_flag=True, help="Also show the packages of built stages that have another version.")
@click.option("--json", "as_json", is_flag=True, help="Print what moved as JSON.")
@progress_option
@click.pass_context
def command(
    ctx: click.Context, names: tuple[str, ...], dry_run: bool, packages: bool, as_json: bool, progress: str
) -> None:
    """Move pins to the newest state, and show what moved.

    This looks up what repositories and seeds stand for now, and writes
    stagewright.lock. Without names, all repositories and seeds are looked up, and the
    time stamp of everything that is built moves too (unless the project sets
    source_date_epoch). For a git repository the number of new commits is shown, and the
    subjects of 20.

    \b
      stagewright update                    everything
      stagewright update gentoo             one repository
      stagewright update --packages -n      what would change, down to packages
    """
    with progress_listener(progress) as listener:
        session = session_of(ctx, listener)
        changes = session.update(names, dry_run=dry_run)
        found = {change.target: session.version_changes(change) if packages else [] for change in changes}
    if as_json:
        rows = [{**one.to_dict(), "packages": [item.to_dict() for item in found[one.target]]} for one in changes]
        print(json.dumps({"project": session.project.info.name, "dry_run": dry_run, "pins": rows}, indent=2))
        return
    for change in changes:
        print("\n".join([*change_lines(change), *(f"  {version_line(item)}" for item in found[change.target])]))
