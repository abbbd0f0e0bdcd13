"""The machine of ``stagewright boot``: from options to a specification, to lines for a shell, or to libvirt."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from stagewright.arch import Arch
from stagewright.cli.boot_image import BootImage, arch_of, boot_image
from stagewright.cli.boot_run import Start, check_ports
from stagewright.cli.common import store_folder
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.tests.boots import Attach
from stagewright.media.direct import DirectBoot, direct_boot
from stagewright.run import paste
from stagewright.store.reading import ReadOnlyStore
from stagewright.vm import accel, disks, ssh
from stagewright.vm.accel import Acceleration
from stagewright.vm.disks import EmptyDisk
from stagewright.vm.display import Graphic, viewer_of
from stagewright.vm.folder import kept_folder, machine_folder
from stagewright.vm.interactive import shell_lines
from stagewright.vm.libvirt import Domain, domain_xml, virt_install
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of
from stagewright.vm.osinfo import system_id

SERIAL = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
"""The first serial port by architecture."""


@dataclass(frozen=True)
class Wanted:
    """The options of the command line."""

    command: tuple[str, ...] = ()
    memory: int = 1024
    cpus: int = 2
    attach: str | None = None
    firmware: FirmwareKind = "uefi"
    secure: bool = False
    variables: Path | None = None
    arch: str | None = None
    append: str | None = None
    disk: tuple[str, ...] = ()
    from_disk: bool = False
    keep: Path | None = None
    tpm: bool = False
    network: bool = False
    forward: tuple[str, ...] = ()
    ssh: bool = False
    key_by: str | None = None
    graphic: str | None = None
    screenshot: Path | None = None
    seconds: float | None = None
    until: str = ""
    qemu: bool = False
    libvirt_xml: bool = False
    virt_install: bool = False
    os_variant: str = "gentoo"

    def check(self) -> None:
        """Raise ``USAGE`` for options that exclude each other or have no effect."""
        instead = [
            name
            for name, given in (
                ("--ssh", self.ssh),
                ("--screenshot", self.screenshot),
                ("--qemu", self.qemu),
                ("--libvirt-xml", self.libvirt_xml),
                ("--virt-install", self.virt_install),
            )
            if given
        ]
        if len(instead) > 1:
            raise StagewrightError(Reason.USAGE, f"{' and '.join(instead)} exclude each other", hint="use one of them")
        if self.command and not self.ssh:
            raise StagewrightError(Reason.USAGE, "a command needs --ssh", hint="add --ssh before the --")
        if self.key_by and not self.ssh:
            raise StagewrightError(Reason.USAGE, "--key-by needs --ssh", hint="add --ssh")
        if self.until and not self.screenshot:
            raise StagewrightError(Reason.USAGE, "--until needs --screenshot", hint="add --screenshot FILE")
        if self.screenshot and not os.access(self.screenshot.absolute().parent, os.W_OK):
            what = f"--screenshot {self.screenshot}: cannot be written"
            raise StagewrightError(Reason.USAGE, what, hint="name a file in a folder that exists")
        if self.from_disk and not (self.disk and self.keep):
            what = "--from-disk: no disks that an earlier start has kept"
            raise StagewrightError(Reason.USAGE, what, hint="repeat --disk and --keep of the earlier start")
        if self.from_disk and self.append is not None:
            raise StagewrightError(Reason.USAGE, "--from-disk and --append exclude each other", hint="remove one")
        if self.secure and self.firmware == "bios":
            raise StagewrightError(Reason.USAGE, "--secure: a BIOS has no Secure Boot", hint="remove --firmware bios")

    def check_libvirt(self) -> None:
        """Raise ``USAGE`` for options that a machine of libvirt cannot have."""
        for name, given, hint in (
            ("--forward", self.forward, "use a network of libvirt, or --qemu"),
            ("--variables", self.variables, "libvirt makes the variables from the template of a firmware"),
            ("--attach usb", self.attach == Attach.USB, "use --attach disk"),
            ("--graphic gtk and sdl", self.graphic in ("gtk", "sdl"), "use --graphic spice or vnc"),
        ):
            if given:
                raise StagewrightError(Reason.USAGE, f"{name}: not supported for libvirt", hint=hint)

    @property
    def forwards(self) -> list[tuple[int, int]]:
        """The forwarded ports, each with that of the machine. Raises ``USAGE``."""
        return [_ports(word) for word in self.forward]

    @property
    def empty_disks(self) -> list[EmptyDisk]:
        """The empty disks. Raises ``USAGE``."""
        return [disks.disk_of(words, number) for number, words in enumerate(self.disk, 1)]

    @property
    def for_libvirt(self) -> bool:
        """True if a machine of libvirt is printed."""
        return self.libvirt_xml or self.virt_install

    @property
    def prints(self) -> bool:
        """True if nothing is started."""
        return self.qemu or self.libvirt_xml or self.virt_install


def start(ctx: click.Context, name: str, wanted: Wanted) -> int:
    """Start a machine, or print how to start it. Returns the exit code."""
    wanted.check()
    if wanted.for_libvirt:
        wanted.check_libvirt()
    image = boot_image(ctx, name)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(machine_folder())
        folder = (wanted.keep or (Path(f"{image.path.stem}.machine") if wanted.prints else work / "machine")).absolute()
        if wanted.keep:
            stack.enter_context(kept_folder(folder))
        found = arch_of(image, work / "esp")
        arch = Arch(wanted.arch) if wanted.arch else found
        spec, direct = _spec(image, wanted, arch, folder, work)
        acceleration = _acceleration(ctx, spec)
        if wanted.for_libvirt:
            print(_for_libvirt(image, wanted, spec, direct, folder, kvm=acceleration.name == "kvm"))
        elif wanted.qemu:
            lines = [*_preparation(image, wanted, direct, folder), *shell_lines(spec, folder, acceleration)]
            print("\n".join(lines))
        else:
            check_ports(port for port, _ in wanted.forwards)
            return _start(Start(spec, folder, work, acceleration, wanted.graphic, wanted.seconds), wanted)
        return 0


def _start(machine: Start, wanted: Wanted) -> int:
    if wanted.screenshot:
        return machine.for_picture(wanted.screenshot, wanted.until)
    if wanted.ssh:
        return machine.for_login(wanted.command, ssh.KeyBy(wanted.key_by or ssh.KeyBy.ALL))
    return machine.on_terminal()


def _acceleration(ctx: click.Context, spec: MachineSpec) -> Acceleration:
    """Return how the machine runs. The result of the test of KVM is remembered in the store if there is one."""
    return accel.of(spec.architecture, cache=ReadOnlyStore(store_folder(ctx)).memory("acceleration.json"))


def _spec(
    image: BootImage, wanted: Wanted, arch: Arch, folder: Path, work: Path
) -> tuple[MachineSpec, DirectBoot | None]:
    """Return the machine, and how its kernel is started if that is wanted."""
    attach = Attach(wanted.attach) if wanted.attach else Attach.CD if image.is_iso else Attach.DISK
    spec = MachineSpec(
        firmware="uefi-secure" if wanted.secure else wanted.firmware,
        architecture=architecture_of(arch),
        variables=wanted.variables and wanted.variables.absolute(),
        memory=wanted.memory,
        cpus=wanted.cpus,
        network="user" if wanted.network or wanted.forward else "none",
        user_network=tuple(f"hostfwd=tcp:{ssh.LOOPBACK}:{port}-:{guest}" for port, guest in wanted.forwards),
        tpm=wanted.tpm,
        keep_writes=bool(wanted.keep),
    )
    if not image.is_set:
        spec = attach.attached(spec, image.path)
    spec = _with_disks(spec, wanted, folder)
    direct = None
    direct_too = wanted.append is not None or image.is_set or (wanted.virt_install and image.is_iso)
    if direct_too and not wanted.from_disk:
        direct = _direct(image, work)
        words = direct.on_serial(SERIAL[spec.architecture])
        kernel, initramfs = direct.copies if image.is_set or not wanted.prints else _copies(folder)
        spec = replace(spec, kernel=kernel, initrd=initramfs, append=f"{words} {wanted.append or ''}".strip())
    return spec, direct


def _with_disks(spec: MachineSpec, wanted: Wanted, folder: Path) -> MachineSpec:
    """Return the machine with empty disks, and with a disk that keeps writes. The files are made unless printed."""
    empty = disks.placed(wanted.empty_disks, folder)
    spec = replace(spec, empty_disks=empty if wanted.qemu else disks.made(empty, folder))
    if wanted.from_disk:
        return spec.from_disk()
    if wanted.keep and spec.disk and spec.disk.parent != folder:
        spec = replace(spec, disk=disks.layer(spec.disk, folder))
    if wanted.keep and spec.usb:
        spec = replace(spec, usb=disks.layer(spec.usb, folder))
    return spec


def _direct(image: BootImage, work: Path) -> DirectBoot:
    if not image.is_iso and not image.is_set:
        what = f"--append: the kernel of the disk image {image.path.name} cannot be started directly"
        raise StagewrightError(Reason.USAGE, what, hint="name an ISO or the folder of a network set")
    (work / "medium").mkdir()
    return direct_boot(image.path, work / "medium")


def _copies(folder: Path) -> tuple[Path, Path]:
    return folder / "kernel", folder / "initramfs"


def _ports(word: str) -> tuple[int, int]:
    """Return the ports of this computer and of the machine in a word: ``2222:22``. Raises ``USAGE``."""
    found = re.fullmatch(r"(\d{1,5}):(\d{1,5})", word)
    if not found or not all(0 < int(port) < 65536 for port in found.groups()):
        hint = "write the port of this computer and that of the machine: 2222:22"
        raise StagewrightError(Reason.USAGE, f"--forward {word}: not PORT:GUEST", hint=hint)
    return int(found[1]), int(found[2])


def _preparation(image: BootImage, wanted: Wanted, direct: DirectBoot | None, folder: Path) -> list[str]:
    """Return the lines for a shell that make the disk, the kernel and the initramfs of a machine."""
    lines: list[list[str | Path]] = []
    for disk in () if wanted.from_disk else disks.placed(wanted.empty_disks, folder):
        lines.append(["qemu-img", "create", "-q", "-f", "qcow2", disk.path, str(disk.size)])
    if direct and image.is_iso:
        words: list[str | Path] = ["xorriso", "-osirrox", "on", "-indev", image.path]
        for name, path in zip((direct.kernel, direct.initramfs), _copies(folder), strict=True):
            words += ["-extract", f"/{name}", path]
        lines.append(words)
    if lines:
        lines.insert(0, ["mkdir", "-p", folder])
    return [paste(line) for line in lines]


def _for_libvirt(
    image: BootImage, wanted: Wanted, spec: MachineSpec, direct: DirectBoot | None, folder: Path, *, kvm: bool
) -> str:
    """Return the XML of a domain, or the command line of virt-install. libvirt writes to disks, so they are layers.

    Raises ``USAGE`` without a folder for the layer.
    """
    if (spec.disk or spec.usb or spec.empty_disks) and not wanted.keep:
        what = "libvirt writes to the disks of a machine, but images are not changed"
        raise StagewrightError(Reason.USAGE, what, hint="add --keep FOLDER: the disks are made there")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", image.path.stem)
    kernels = (direct.kernel, direct.initramfs) if direct and image.is_iso else None
    domain = Domain(
        name,
        spec,
        kvm,
        wanted.os_variant,
        system_id(wanted.os_variant),
        kernels if wanted.virt_install else None,
        viewer_of(Graphic(wanted.graphic), spec.platform.qemu) if wanted.graphic else None,
        system=os.geteuid() == 0,
    )
    if wanted.virt_install:
        return virt_install(domain)
    if kernels and direct:
        _copy_kernels(wanted, direct.copies, folder)
    return domain_xml(domain)


def _copy_kernels(wanted: Wanted, sources: Sequence[Path], folder: Path) -> None:
    """Copy the kernel and the initramfs of an ISO into the folder of the machine. Raises ``USAGE`` without one."""
    if not wanted.keep:
        raise StagewrightError(Reason.USAGE, "--append needs --keep FOLDER for the kernel", hint="add --keep")
    for source, target in zip(sources, _copies(folder), strict=True):
        shutil.copyfile(source, target)
