"""``stagewright store gc``."""

from __future__ import annotations

import click

from stagewright.cli.common import session_or_none
from stagewright.cli.remote.common import remote_argument, remote_of
from stagewright.engine.remotes import remote_settings
from stagewright.errors import Reason, StagewrightError
from stagewright.remote.keep import collect
from stagewright.ui.streams import note
from stagewright.ui.text import plural, printable, size
from stagewright.units import parse_size


@click.command(name="gc")
@remote_argument
@click.option("--size", "most", metavar="SIZE", help="The most to keep, such as 500G; default: that of the remote.")
@click.option("--days", type=click.FloatRange(min=0), help="Remove what was not used for so many days.")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be removed.")
@click.pass_context
def command(ctx: click.Context, remote: str, most: str | None, days: float | None, *, dry_run: bool) -> None:
    """Remove from a remote store what was not used for the longest time.

    Pinned results stay, and those that a running build uses. Blobs that no result needs
    are removed a day after they were sent, and so are uploads that were given up.
    """
    session = session_or_none(ctx, reads_only=True)
    settings = remote_settings(session.project if session else None).get(remote)
    word = most or (settings.size if settings else None)
    try:
        limit = parse_size(word) if word else None
    except ValueError as error:
        what = f"--size {word}: not a size"
        raise StagewrightError(Reason.USAGE, what, hint="write a number with M, G or T") from error
    with remote_of(ctx, remote, "quiet") as (opened, _):
        found = collect(opened, size=limit, days=days, dry_run=dry_run, report=lambda text: note(printable(text)))
    for one in found.removed:
        statement = one.statement
        print(f"{size(statement.stored):>10}  {statement.key[:12]}  {printable(statement.node)}")
    if found.uploads:
        print(f"{plural(found.uploads, 'upload')} that {'was' if found.uploads == 1 else 'were'} given up")
    print(f"{'would free' if dry_run else 'freed'} {size(found.freed)}, {size(found.left)} left")
