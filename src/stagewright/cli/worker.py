"""``stagewright worker``: this machine as a part of a farm."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

import click

from stagewright.cli.common import store_folder
from stagewright.cli.farm_options import certs_option
from stagewright.engine.farm.extra import required
from stagewright.engine.farm.security import is_encrypted
from stagewright.engine.resources import Resources


@click.command(name="worker")
@click.option("--scheduler", "url", required=True, metavar="URL", help="The scheduler, such as tls://HOST:8786.")
@certs_option
@click.option("--remote", required=True, metavar="NAME|URL", help="The remote store that the farm shares.")
@click.option("--name", default=socket.gethostname(), show_default=True, help="The name of this machine.")
@click.option("--listen", metavar="ADDRESS", help="The address that the scheduler reaches (default: found).")
@click.option("-j", "--cores", type=click.IntRange(min=1), help="Cores that all nodes may use together (default: all).")
@click.option(
    "--memory", type=click.IntRange(min=256), metavar="MIB", help="Memory for all nodes (default: 9/10 of it)."
)
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    certs: Path | None,
    remote: str,
    name: str,
    listen: str | None,
    cores: int | None,
    memory: int | None,
) -> None:
    """Build nodes for a farm, until it is stopped.

    The machine announces its architecture, its emulators, cores, memory, disk, programs
    and features, and gets only nodes that it can build. Inputs come from the remote
    store, results go there. SIGTERM: running nodes end first, no more are taken. Ctrl-C or
    a second SIGTERM: running nodes are ended. If the scheduler is lost, the worker waits
    for it. Connections without encryption are refused, except on one computer.

    \b
      stagewright worker --scheduler tls://build1:8786 --remote sftp://build1/srv/store
      stagewright worker --scheduler tcp://127.0.0.1:8786 --remote /srv/store --cores 2
    """
    is_encrypted(url)
    required("distributed")
    from stagewright.engine.farm.serving import serve

    def say(text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    resources = Resources.of_machine().limited(cores, memory)
    serve(store_folder(ctx), url, certs, remote, name, listen, resources, say)
