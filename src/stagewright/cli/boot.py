"""``stagewright boot``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from stagewright.cli.boot_machine import Wanted, start
from stagewright.cli.complete import complete_images
from stagewright.cli.options import mebibytes
from stagewright.kinds.tests.boots import Attach
from stagewright.vm.display import Graphic
from stagewright.vm.machine_spec import FirmwareKind
from stagewright.vm.osinfo import GENTOO
from stagewright.vm.ssh import KeyBy


@click.command(name="boot")
@click.argument("image", metavar="STAGE|FILE", shell_complete=complete_images)
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]")
@click.option(
    "-m",
    "--memory",
    callback=mebibytes(64),
    metavar="SIZE",
    default="1G",
    show_default=True,
    help="Memory: MiB, or a number with M or G.",
)
@click.option("--cpus", type=click.IntRange(min=1), default=2, show_default=True, help="Number of processors.")
@click.option(
    "--attach",
    type=click.Choice([item.value for item in Attach]),
    help="The device with the image (default: cd for an ISO, disk for others).",
)
@click.option(
    "--firmware", type=click.Choice(get_args(FirmwareKind)), default="uefi", show_default=True, help="The firmware."
)
@click.option("--secure", is_flag=True, help="Short for --firmware uefi-secure: start only signed programs.")
@click.option(
    "--variables",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file with the UEFI variables of the machine, for example with your own keys.",
)
@click.option("--arch", type=click.Choice(["amd64", "arm64"]), help="The architecture (default: that of the image).")
@click.option("--append", metavar="ARGUMENTS", help="Start the kernel directly, with more arguments.")
@click.option(
    "--disk",
    multiple=True,
    metavar="SIZE[,serial=NAME][,bus=BUS]",
    help="Add an empty disk, such as 10G. BUS is virtio, scsi or nvme. Can be repeated.",
)
@click.option("--from-disk", is_flag=True, help="Start from the disks of --disk and --keep, without the image.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder that keeps the disks, the UEFI variables and the TPM for the next start.",
)
@click.option("--tpm", is_flag=True, help="Add a TPM 2.0 (swtpm).")
@click.option("--network", is_flag=True, help="Connect the machine to the network of this computer.")
@click.option(
    "--forward",
    multiple=True,
    metavar="PORT:GUEST",
    help="Forward a TCP port of the loopback interface to one of the machine. Can be repeated.",
)
@click.option("--ssh", is_flag=True, help="Log in as root by SSH, or run COMMAND, then stop the machine.")
@click.option(
    "--key-by",
    type=click.Choice([item.value for item in KeyBy]),
    help="How the guest gets the key of --ssh: by systemd's credentials, by cloud-init, or by both (default).",
)
@click.option(
    "--graphic",
    is_flag=False,
    flag_value="auto",
    type=click.Choice([item.value for item in Graphic]),
    help="Show the screen, too (default: a window if there is a desktop, else SPICE or VNC).",
)
@click.option(
    "--screenshot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Save the screen as PNG after --seconds, and stop the machine.",
)
@click.option("--seconds", type=click.FloatRange(min=0), help="Time for --screenshot (20) or --ssh (600).")
@click.option("--until", metavar="REGEX", default="", help="Take the picture when the serial console shows this.")
@click.option("--qemu", is_flag=True, help="Print the lines for a shell instead.")
@click.option("--libvirt-xml", is_flag=True, help="Print the domain for virsh define instead.")
@click.option("--virt-install", is_flag=True, help="Print the command line of virt-install instead.")
@click.option("--os-variant", default=GENTOO, show_default=True, help="The system in libosinfo, for libvirt.")
@click.pass_context
def command(ctx: click.Context, /, image: str, **options: Any) -> int:
    """Start a virtual machine with an image.

    The image is that of a STAGE, or a FILE: an ISO, a disk image, or the folder of a
    network set. The serial console of the machine is on this terminal; Ctrl-A X ends
    the machine. KVM is used if it works here. Nothing is written to the image, and
    everything that the machine wrote is gone after its end, unless --keep names a
    folder. Root is not needed.

    \b
      stagewright boot iso
      stagewright boot iso --firmware bios --memory 2G
      stagewright boot iso --append "rd.break"        its kernel with more arguments
      stagewright boot iso --disk 10G --keep vm       install to a disk that stays
      stagewright boot iso --disk 10G --keep vm --from-disk
                                                      start what was installed
      stagewright boot out/disk.qcow2 --keep vm --tpm
      stagewright boot disk --ssh -- systemctl --failed
      stagewright boot iso --graphic --screenshot menu.png

    Other programs can start the same machine:

    \b
      stagewright boot iso --qemu > start.sh
      stagewright boot iso --virt-install | sh
      stagewright boot disk --keep vm --libvirt-xml > disk.xml
    """
    return start(ctx, image, Wanted(**options))
