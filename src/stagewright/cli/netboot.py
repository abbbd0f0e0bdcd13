"""``stagewright netboot``: sets for network boot."""

from __future__ import annotations

import click

from stagewright.cli.commands import Commands

COMMANDS = {"serve": "stagewright.cli.netboot_serve", "from-iso": "stagewright.cli.netboot_from_iso"}


@click.command(name="netboot", cls=Commands, modules=COMMANDS)
def command() -> None:
    """Serve a set for network boot, or make one from an ISO.

    A set is a folder with kernel, initramfs, image and scripts for boot loaders. Any
    web server can serve it. A stage of kind pxeboot makes one in out/.

    \b
      stagewright build pxe
      stagewright netboot serve out/pxe
      stagewright netboot from-iso some.iso -o set
    """
