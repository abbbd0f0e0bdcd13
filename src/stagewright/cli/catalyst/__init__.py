"""``stagewright catalyst``: the commands for Catalyst's specs."""

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
    "log": "stagewright.cli.catalyst.log",
    "shell": "stagewright.cli.catalyst.shell",
}


@click.command(name="catalyst", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Check, plan, build or convert Catalyst's specs.

    Specs are read exactly as Catalyst 4.1 reads them, also with the configuration files
    of catalyst-auto. They become a project in memory. A build makes the same results,
    with the same keys, as a build of the project that `convert` writes.

    \b
      stagewright catalyst check releases/specs/amd64
      stagewright catalyst graph --conf tools/catalyst-auto-amd64.conf --jobs 4
      stagewright catalyst keys stage4
      stagewright catalyst plan releases/specs/amd64 --conf catalyst.conf
      stagewright catalyst build releases/specs/amd64 --conf catalyst.conf
      stagewright catalyst convert releases/specs/amd64 --conf catalyst.conf -o amd64
    """
