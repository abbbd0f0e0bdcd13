"""``stagewright farm``: the services of a farm, and what it has."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {
    "certs": "stagewright.cli.farm_certs",
    "scheduler": "stagewright.cli.farm_scheduler",
    "machines": "stagewright.cli.farm_machines",
}


@click.command(name="farm", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Set up a farm: many machines that build for one command.

    A farm is a Dask scheduler with workers, and a remote store that all of them share.
    It needs the extra stagewright[farm]. A holder of one of its certificates can run
    any code on its machines.

    \b
      stagewright farm certs ./certs
      stagewright farm scheduler tls://0.0.0.0:8786 --certs ./certs
      stagewright worker --scheduler tls://HOST:8786 --certs ./certs --remote URL
      stagewright farm machines tls://HOST:8786 --certs ./certs
      stagewright build --farm tls://HOST:8786 --farm-certs ./certs
    """
