"""``stagewright graph``."""

from __future__ import annotations

import click

from stagewright.cli.common import project_of, store_of, targets_argument
from stagewright.cli.options import picture_option
from stagewright.engine.plan import make_plan
from stagewright.graph.draw import Picture, draw
from stagewright.graph.node import Graph


@click.command(name="graph")
@targets_argument
@picture_option(Picture.MERMAID)
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], picture: str) -> None:
    """Draw the graph: what is made of what.

    Text is a tree of lines, Mermaid text shows in Markdown pages, dot is Graphviz's language, svg is drawn
    by Graphviz, json is for programs.
    """
    plan = make_plan(project_of(ctx), store_of(ctx), targets)
    part = Graph({name: step.node for name, step in plan.steps.items()}, plan.graph.targets)
    notes = {name: step.state.value for name, step in plan.steps.items()}
    print(draw(part, Picture(picture), notes), end="")
