"""``stagewright boot``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast, get_args

import click

from stagewright.arch import Arch, host_machine
from stagewright.cli.common import session_of, store_of
from stagewright.kinds.common.base import Scope
from stagewright.kinds.tests.boots import Attach, image_of
from stagewright.media.inspect import arches_of
from stagewright.ui.streams import note
from stagewright.vm import accel
from stagewright.vm.interactive import terminal
from stagewright.vm.machine_spec import FirmwareKind


@click.command(name="boot")
@click.argument("image", metavar="STAGE|FILE")
@click.option("-m", "--memory", type=click.IntRange(min=64), default=1024, show_default=True, help="Memory in MiB.")
@click.option("--cpus", type=click.IntRange(min=1), default=2, show_default=True, help="Number of processors.")
@click.option(
    "--attach",
    type=click.Choice([item.value for item in Attach]),
    default="cd",
    show_default=True,
    help="The device with the image.",
)
@click.option(
    "--firmware", type=click.Choice(get_args(FirmwareKind)), default="uefi", show_default=True, help="The firmware."
)
@click.option(
    "--variables",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file with the UEFI variables of the machine, for example with your own keys.",
)
@click.option(
    "--arch",
    type=click.Choice(["amd64", "arm64"]),
    help="The architecture (default: that of the image).",
)
@click.pass_context
def command(
    ctx: click.Context,
    image: str,
    memory: int,
    cpus: int,
    attach: str,
    firmware: str,
    variables: Path | None,
    arch: str | None,
) -> int:
    """Start a virtual machine with an image.

    The image is that of a STAGE, or a FILE. The serial console of the machine is on
    this terminal; Ctrl-A X ends the machine. KVM is used if it works here. Nothing is
    written to the image.

    \b
      stagewright boot iso
      stagewright boot iso --firmware bios --memory 2048
      stagewright boot out/disk.qcow2 --attach disk
    """
    path, default = Path(image), host_machine().arch
    if not path.is_file():
        session = session_of(ctx)
        path = image_of(session.result(image))
        default = Arch(Scope(session.project).arch(image))
    machine = Attach(attach).machine(
        path.absolute(),
        memory=memory,
        cpus=cpus,
        firmware=cast("FirmwareKind", firmware),
        arch=Arch(arch) if arch else _arch_of(path, default),
        variables=variables and variables.absolute(),
    )
    acceleration = accel.of(machine.architecture, cache=store_of(ctx).cache("acceleration.json"))
    with tempfile.TemporaryDirectory(prefix="stagewright-boot-") as folder:
        console = terminal(machine, Path(folder), acceleration)
        note(console.notice)
        return console.run()


def _arch_of(path: Path, default: Arch) -> Arch:
    """Return an architecture that an ISO has boot programs for, ``default`` if it is one of these."""
    if path.suffix != ".iso":
        return default
    with tempfile.TemporaryDirectory(prefix="stagewright-boot-", dir="/var/tmp") as folder:
        found = arches_of(path, Path(folder))
    known = [arch for arch in Arch if arch in found]
    return default if default in known or not known else known[0]
