"""``stagewright catalyst``: Catalyst's own specs."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {
    "check": "stagewright.cli.catalyst.check",
    "graph": "stagewright.cli.catalyst.graph",
    "keys": "stagewright.cli.catalyst.keys",
    "plan": "stagewright.cli.catalyst.plan",
    "build": "stagewright.cli.catalyst.build",
    "convert": "stagewright.cli.catalyst.convert",
}


@click.command(name="catalyst", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Read the specs of Catalyst as they are: check, plan and build them, or move on.

    Specs are read exactly as Catalyst 4.1 reads them, also through the files that
    catalyst-auto works from. They become a project in memory; what is built is the
    same, under the same keys, as after `convert`.

    \b
      stagewright catalyst check releases/specs/amd64
      stagewright catalyst graph --conf tools/catalyst-auto-amd64.conf --jobs 4
      stagewright catalyst keys stage4
      stagewright catalyst plan releases/specs/amd64 --conf catalyst.conf
      stagewright catalyst build releases/specs/amd64 --conf catalyst.conf
      stagewright catalyst convert releases/specs/amd64 --conf catalyst.conf -o amd64
    """
