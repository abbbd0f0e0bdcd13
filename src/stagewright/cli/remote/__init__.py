"""``stagewright store``: stores on other machines."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {
    "ls": "stagewright.cli.remote.ls",
    "push": "stagewright.cli.remote.push",
    "pull": "stagewright.cli.remote.pull",
    "verify": "stagewright.cli.remote.verify",
    "du": "stagewright.cli.remote.du",
    "gc": "stagewright.cli.remote.gc",
    "pin": "stagewright.cli.remote.pin",
}


@click.command(name="store", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Share results with other machines.

    REMOTE is the name of a remote in the project or in remotes.toml, a folder (with a slash), or an
    address: sftp://, s3://, oci://, https:// (only for reading). A build takes what remotes
    have by itself. This computer's own store has verify --store and gc.

    \b
      stagewright store push central          give the project's results to a remote
      stagewright store pull central iso      take one result
      stagewright store gc central --size 500G
    """
