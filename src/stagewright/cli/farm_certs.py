"""``stagewright farm certs``."""

from __future__ import annotations

from pathlib import Path

import click

from stagewright.engine.farm.security import DAYS, make_certificates


@click.command(name="certs")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A name or address of the scheduler, for records.")
def command(folder: Path, hosts: tuple[str, ...]) -> None:
    """Make the certificates of a farm in a folder.

    ca.pem and one file for each role: scheduler.pem, worker.pem, client.pem. Copy ca.pem
    and the file of its role to each machine; ca.key stays. Files that exist are kept.
    A holder of one of the three files can run any code on all machines of the farm:
    keep them as you keep keys of SSH.
    """
    made = make_certificates(folder, hosts)
    for path in made:
        print(path)
    if made:
        print(f"valid for {DAYS} days; ca.key is only needed to make more")
    else:
        print(f"{folder}: complete, nothing was made")
