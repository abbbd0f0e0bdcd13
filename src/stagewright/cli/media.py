"""``stagewright media``: media as they are, whoever made them."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {"check": "stagewright.cli.media_check"}


@click.command(name="media", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Look at ISO images and folders for network boot, of this project or any other.

    \b
      stagewright media check out/demo-iso-amd64-1.0.iso
      stagewright media check install-amd64-minimal.iso --json
    """
