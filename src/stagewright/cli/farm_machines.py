"""``stagewright farm machines``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stagewright.cli.farm_options import certs_option
from stagewright.engine.farm.extra import required
from stagewright.ui.text import printable, size


@click.command(name="machines")
@click.argument("url", metavar="URL", envvar="STAGEWRIGHT_FARM")
@certs_option
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each machine, on a line.")
def command(url: str, certs: Path | None, as_json: bool) -> None:
    """Show the machines of a farm: what they are, have and build now."""
    required("distributed")
    from stagewright.engine.farm.executor import connected, sites_of

    with connected(url, certs) as client:
        sites = sites_of(client)
    for site in sorted(sites, key=lambda one: one.machine.name):
        machine = site.machine
        if as_json:
            data = {**machine.to_dict(), "address": site.address, "open": site.open, "builds": len(site.load)}
            print(json.dumps(data))
            continue
        runs = ", ".join([machine.arch, *machine.also, *(f"{arch} (by QEMU)" for arch in machine.emulated)])
        text = f"{machine.name}: {machine.cores} cores, {machine.memory} MiB, {size(machine.disk)} free; {runs}"
        text += f"; {', '.join(machine.features)}" if machine.features else ""
        text += f"; Stagewright {machine.version}; builds {len(site.load)}" + ("" if site.open else ", takes no more")
        print(printable(text))
    if not sites and not as_json:
        print("no machine is connected")
