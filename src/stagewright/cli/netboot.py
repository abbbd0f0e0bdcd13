"""``stagewright netboot``: sets for network boot."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {"serve": "stagewright.cli.netboot_serve", "from-iso": "stagewright.cli.netboot_from_iso"}


@click.command(name="netboot", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Start machines from the network: serve a set, or make one from an ISO.

    A set is what a stage of kind pxeboot leaves in out/: a folder with kernel,
    initramfs, image and a script for iPXE, for any web server.

    \b
      stagewright build pxe
      stagewright netboot serve out/pxe
      stagewright netboot from-iso some.iso -o set
    """
