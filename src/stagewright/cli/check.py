"""``stagewright check``."""

from __future__ import annotations

import click

from stagewright.cli.common import project_of
from stagewright.stages.registry import graph_of


@click.command(name="check")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Read the project and report everything that is wrong with it, at once.

    Each error is a line "file:line:column: what", followed by a remedy.
    """
    project = project_of(ctx)
    graph = graph_of(project)
    counts = ", ".join(f"{len(entries)} {table}" for table, entries in project.entries.items() if entries)
    print(f"{project.info.name} {project.info.version}: {counts}, {len(graph.nodes)} nodes; nothing wrong")
