"""``stagewright media``: inspecting media of any origin."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {"check": "stagewright.cli.media_check"}


@click.command(name="media", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Inspect ISO images and sets for network boot.

    They can be of this project or of any other origin.

    \b
      stagewright media check out/demo-iso-amd64-1.0.iso
      stagewright media check install-amd64-minimal.iso --json
    """
