"""``stagewright boot``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import cast, get_args

import click

from stagewright.arch import Arch, host_machine
from stagewright.cli.common import project_of, store_of
from stagewright.engine.plan import make_plan
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.base import Scope
from stagewright.kinds.tests.boots import Attach, image_of
from stagewright.media.inspect import arches_of
from stagewright.vm import accel
from stagewright.vm.interactive import terminal
from stagewright.vm.machine_spec import FirmwareKind


@click.command(name="boot")
@click.argument("image", metavar="STAGE|FILE")
@click.option("-m", "--memory", type=click.IntRange(min=64), default=1024, show_default=True, help="In MiB.")
@click.option("--cpus", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--attach", type=click.Choice([item.value for item in Attach]), default="cd", show_default=True)
@click.option("--firmware", type=click.Choice(get_args(FirmwareKind)), default="uefi", show_default=True)
@click.option(
    "--variables",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="UEFI variables to start with, such as ones with keys of your own.",
)
@click.option("--arch", type=click.Choice(["amd64", "arm64"]), help="The machine's; default: that of the image.")
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
    """Start a virtual machine with the image of a STAGE or with a FILE, its serial console on this terminal."""
    store = store_of(ctx)
    path = Path(image)
    told = host_machine().arch
    if not path.is_file():
        path = _of_stage(ctx, image)
        told = Arch(Scope(project_of(ctx)).arch(image))
    machine = Attach(attach).machine(
        path.absolute(),
        memory=memory,
        cpus=cpus,
        firmware=cast("FirmwareKind", firmware),
        arch=Arch(arch) if arch else _arch_of(path, told),
        variables=variables and variables.absolute(),
    )
    acceleration = accel.of(machine.architecture, cache=store.cache("acceleration.json"))
    with tempfile.TemporaryDirectory(prefix="stagewright-boot-") as folder:
        session = terminal(machine, Path(folder), acceleration)
        print(session.notice, file=sys.stderr)
        return session.run()


def _arch_of(path: Path, told: Arch) -> Arch:
    """The architecture of machines that start an image: one that an ISO has a program for, ``told`` if that is one."""
    if path.suffix != ".iso":
        return told
    with tempfile.TemporaryDirectory(prefix="stagewright-boot-", dir="/var/tmp") as folder:
        found = arches_of(path, Path(folder))
    known = [arch for arch in Arch if arch in found]
    return told if told in known or not known else known[0]


def _of_stage(ctx: click.Context, name: str) -> Path:
    store = store_of(ctx)
    plan = make_plan(project_of(ctx), store, [name])
    (node_id,) = plan.sinks
    step = plan.steps[node_id]
    if not store.has(step.node.yields, step.key.digest):
        raise StagewrightError(
            Reason.NOT_BUILT, f"{name} is not built as the project is now", hint=f"stagewright build {name}"
        )
    return image_of(store.tree(step.node.yields, step.key.digest))
