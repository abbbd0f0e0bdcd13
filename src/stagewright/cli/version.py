"""``stagewright version``."""

from __future__ import annotations

import click

from stagewright import __version__


@click.command(name="version")
def command() -> None:
    """Print the version, as --version does."""
    print(f"stagewright, version {__version__}")
