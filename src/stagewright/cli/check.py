"""``stagewright check``."""

from __future__ import annotations

import click

from stagewright.cli.common import locked_option, session_of
from stagewright.ui.streams import note


@click.command(name="check")
@locked_option
@click.pass_context
def command(ctx: click.Context, locked: bool) -> None:
    """Find all errors in the project.

    Each error is a line "FILE:LINE:COLUMN: MESSAGE", followed by a hint. Profiles and
    packages are checked in the repositories that are in the store; run stagewright
    fetch first to check all of them. Nothing is built, fetched or written.
    """
    session = session_of(ctx, reads_only=True)
    session.check(locked=locked, keys=False)
    for text in session.warnings():
        note(f"warning: {text}")
    project = session.project
    counts = ", ".join(f"{len(entries)} {table}" for table, entries in project.entries.items() if entries)
    print(f"{project.info.name} {project.info.version}: {counts}, {len(session.graph.nodes)} nodes; nothing wrong")
