"""``stagewright farm scheduler``."""

from __future__ import annotations

from pathlib import Path

import click

from stagewright.cli.farm_options import certs_option
from stagewright.engine.farm.extra import required
from stagewright.engine.farm.security import is_encrypted


@click.command(name="scheduler")
@click.argument("url", metavar="URL", default="tcp://127.0.0.1:8786")
@certs_option
def command(url: str, certs: Path | None) -> None:
    """Run the scheduler of a farm: Dask's own, with the settings of a farm.

    URL is the address to listen at, such as tls://0.0.0.0:8786. Without encryption, only
    addresses of this computer are possible. The scheduler has no state that matters: if
    it is lost, finished results are in the shared store, and the same build continues.

    \b
      stagewright farm scheduler tls://0.0.0.0:8786 --certs /etc/stagewright/farm
    """
    is_encrypted(url)
    required("distributed")
    from stagewright.engine.farm.service import run_scheduler

    run_scheduler(url, certs)
