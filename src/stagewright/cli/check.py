"""``stagewright check``."""

from __future__ import annotations

import click

from stagewright.cli.common import locked_option, project_of
from stagewright.engine.pins import require_pins
from stagewright.kinds.registry import graph_of


@click.command(name="check")
@locked_option
@click.pass_context
def command(ctx: click.Context, locked: bool) -> None:
    """Read the project and report everything that is wrong with it, at once.

    Each error is a line "file:line:column: what", followed by a remedy. Repositories
    from elsewhere are looked into as far as they have been fetched.
    """
    project = project_of(ctx)
    if locked:
        require_pins(project)
    graph = graph_of(project)
    counts = ", ".join(f"{len(entries)} {table}" for table, entries in project.entries.items() if entries)
    print(f"{project.info.name} {project.info.version}: {counts}, {len(graph.nodes)} nodes; nothing wrong")
