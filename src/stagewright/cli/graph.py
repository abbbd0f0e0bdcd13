"""``stagewright graph``."""

from __future__ import annotations

import click

from stagewright.cli.common import session_of, targets_argument
from stagewright.cli.options import picture_option, show_picture
from stagewright.graph.draw import Picture, draw
from stagewright.graph.node import Graph


@click.command(name="graph")
@targets_argument
@picture_option
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], picture: str) -> None:
    """Draw the graph of all nodes: what is made of what.

    Each node stands below the first of its inputs, with its kind and what a build would
    do. Formats: "text" is this tree; "mermaid" is shown in Markdown pages; "dot" is the
    language of Graphviz; "svg" is drawn by Graphviz; "json" is for programs.

    \b
      stagewright graph
      stagewright graph iso --as svg > graph.svg
      stagewright graph --as mermaid >> README.md
    """
    plan = session_of(ctx, reads_only=True).plan(targets)
    part = Graph({name: step.node for name, step in plan.steps.items()}, plan.graph.targets)
    notes = {name: step.state.value for name, step in plan.steps.items()}
    show_picture(draw(part, Picture(picture), notes), picture)
