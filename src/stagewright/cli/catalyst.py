"""``stagewright catalyst``: Catalyst's own specs."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {"check": "stagewright.cli.catalyst_check", "graph": "stagewright.cli.catalyst_graph"}


@click.command(name="catalyst", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Read the specs of Catalyst as they are: check them, show their graph.

    Specs are read exactly as Catalyst 4.1 reads them, also through the files that
    catalyst-auto works from. Building from them is not there yet.

    \b
      stagewright catalyst check releases/specs/amd64
      stagewright catalyst graph --conf tools/catalyst-auto-amd64.conf --jobs 4
    """
