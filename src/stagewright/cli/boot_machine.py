"""The machine of ``stagewright boot``: from options to a specification, and the ways to start it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import click

from stagewright.arch import Arch, host_machine
from stagewright.cli.common import session_of, store_folder
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.base import Scope
from stagewright.kinds.tests.boots import Attach, image_of
from stagewright.media.direct import DirectBoot, direct_boot
from stagewright.media.inspect import arches_of
from stagewright.run import paste
from stagewright.store.reading import ReadOnlyStore
from stagewright.ui.streams import note
from stagewright.vm import accel, disks, ssh
from stagewright.vm.accel import Acceleration
from stagewright.vm.display import Graphic, Screen, screen
from stagewright.vm.interactive import shell_lines, terminal
from stagewright.vm.libvirt import Domain, domain_xml, virt_install
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of
from stagewright.vm.picture import take_picture

SERIAL = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
"""The first serial port by architecture."""

PICTURE, LOGIN, SHUTDOWN = 20.0, 600.0, 90.0
"""Seconds until a picture is taken, for the start of an SSH server, and for a shutdown."""


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
    disk: str | None = None
    keep: Path | None = None
    tpm: bool = False
    network: bool = False
    forward: tuple[str, ...] = ()
    ssh: bool = False
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
        if self.until and not self.screenshot:
            raise StagewrightError(Reason.USAGE, "--until needs --screenshot", hint="add --screenshot FILE")
        if self.secure and self.firmware == "bios":
            raise StagewrightError(Reason.USAGE, "--secure: a BIOS has no Secure Boot", hint="remove --firmware bios")

    @property
    def prints(self) -> bool:
        """True if nothing is started."""
        return self.qemu or self.libvirt_xml or self.virt_install


@dataclass(frozen=True)
class BootImage:
    """An ISO, a disk image, or the folder of a network set. ``arch`` is that of the stage, or of this computer."""

    path: Path
    arch: Arch

    @property
    def is_iso(self) -> bool:
        """True if it is an ISO."""
        return self.path.suffix == ".iso"

    @property
    def is_set(self) -> bool:
        """True if it is the folder of a network set."""
        return self.path.is_dir()


def start(ctx: click.Context, name: str, wanted: Wanted) -> int:
    """Start a machine, or print how to start it. Returns the exit code."""
    wanted.check()
    image = _image(ctx, name)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagewright-boot-", dir="/var/tmp")))
        folder = (wanted.keep or (Path(f"{image.path.stem}.machine") if wanted.prints else work / "machine")).absolute()
        arch = Arch(wanted.arch) if wanted.arch else arch_of(image, work / "esp")
        spec, direct = _spec(image, wanted, arch, folder, work)
        acceleration = _acceleration(ctx, spec)
        if wanted.virt_install or wanted.libvirt_xml:
            print(_for_libvirt(image, wanted, spec, direct, folder, kvm=acceleration.name == "kvm"))
            return 0
        if wanted.qemu:
            lines = [*_preparation(image, wanted, direct, folder), *shell_lines(spec, folder, acceleration)]
            print("\n".join(lines))
            return 0
        return _run(spec, wanted, folder, acceleration)


def _image(ctx: click.Context, name: str) -> BootImage:
    path = Path(name)
    if path.exists() and (path.is_file() or (path / "boot").is_dir()):
        return BootImage(path.absolute(), host_machine().arch)
    session = session_of(ctx, reads_only=True)
    result = session.result(name)
    path = result if (result / "boot.ipxe").exists() else image_of(result)
    return BootImage(path.absolute(), Arch(Scope(session.project).arch(name)))


def arch_of(image: BootImage, work: Path) -> Arch:
    """Return an architecture that an ISO has boot programs for; that of the image if it is one of these."""
    if not image.is_iso:
        return image.arch
    work.mkdir()
    found = arches_of(image.path, work)
    known = [arch for arch in Arch if arch in found]
    return image.arch if image.arch in known or not known else known[0]


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
        user_network=tuple(map(_forward, wanted.forward)),
        tpm=wanted.tpm,
        keep_writes=bool(wanted.keep),
    )
    if not image.is_set:
        spec = attach.attached(spec, image.path)
    spec = _with_disks(spec, wanted, folder)
    direct = None
    if wanted.append is not None or image.is_set or (wanted.virt_install and image.is_iso):
        direct = _direct(image, work)
        words = direct.on_serial(SERIAL[spec.architecture])
        kernel, initramfs = direct.copies if image.is_set or not wanted.prints else _copies(folder)
        spec = replace(spec, kernel=kernel, initrd=initramfs, append=f"{words} {wanted.append or ''}".strip())
    return spec, direct


def _with_disks(spec: MachineSpec, wanted: Wanted, folder: Path) -> MachineSpec:
    """Return the machine with its empty disk, and with a disk that keeps writes. The files are made unless printed."""
    if wanted.disk:
        size = disks.disk_size(wanted.disk)
        path = folder / disks.EMPTY if wanted.qemu else disks.empty(folder, size)
        spec = replace(spec, empty_disk=path)
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


def _forward(word: str) -> str:
    """Return QEMU's option for a forwarded port: ``2222:22``. Raises ``USAGE``."""
    found = re.fullmatch(r"(\d{1,5}):(\d{1,5})", word)
    if not found or not all(0 < int(port) < 65536 for port in found.groups()):
        hint = "write the port of this computer and that of the machine: 2222:22"
        raise StagewrightError(Reason.USAGE, f"--forward {word}: not PORT:GUEST", hint=hint)
    return f"hostfwd=tcp:{ssh.LOOPBACK}:{found[1]}-:{found[2]}"


def _preparation(image: BootImage, wanted: Wanted, direct: DirectBoot | None, folder: Path) -> list[str]:
    """Return the lines for a shell that make the disk, the kernel and the initramfs of a machine."""
    lines: list[list[str | Path]] = []
    if wanted.disk:
        size = str(disks.disk_size(wanted.disk))
        lines.append(["qemu-img", "create", "-q", "-f", "qcow2", folder / disks.EMPTY, size])
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
    if (spec.disk or spec.usb or spec.empty_disk) and not wanted.keep:
        what = "libvirt writes to the disks of a machine, but images are not changed"
        raise StagewrightError(Reason.USAGE, what, hint="add --keep FOLDER: the disks are made there")
    if spec.usb:
        raise StagewrightError(Reason.USAGE, "--attach usb is not supported for libvirt", hint="use --attach disk")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", image.path.stem)
    kernels = (direct.kernel, direct.initramfs) if direct and image.is_iso else None
    graphic = wanted.graphic is not None
    if wanted.virt_install:
        return virt_install(Domain(name, spec, kvm, wanted.os_variant, kernels, graphic))
    if kernels and direct:
        if not wanted.keep:
            raise StagewrightError(Reason.USAGE, "--append needs --keep FOLDER for the kernel", hint="add --keep")
        folder.mkdir(parents=True, exist_ok=True)
        for source, target in zip(direct.copies, _copies(folder), strict=True):
            shutil.copyfile(source, target)
    return domain_xml(Domain(name, spec, kvm, wanted.os_variant, None, graphic, system=os.geteuid() == 0))


def _run(spec: MachineSpec, wanted: Wanted, folder: Path, acceleration: Acceleration) -> int:
    """Start a machine: for a picture, for a login by SSH, or on the terminal. Returns the exit code."""
    shown = Screen(("-display", "none"))
    with contextlib.ExitStack() as stack:
        if wanted.graphic:
            # not in the folder of the machine: the path of a socket has at most 107 bytes
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stagewright-")))
            shown = screen(Graphic(wanted.graphic), spec.platform.qemu, place)
            spec = replace(spec, screen=shown.arguments)
        if shown.notice:
            note(shown.notice)
        if wanted.screenshot:
            seconds = PICTURE if wanted.seconds is None else wanted.seconds
            take_picture(spec, folder, acceleration, wanted.screenshot, seconds=seconds, text=wanted.until)
            return 0
        if wanted.ssh:
            return _by_ssh(spec, wanted, folder, acceleration)
        console = terminal(spec, folder, acceleration, pass_on=shown.variables)
        note(console.notice)
        return console.run()


def _by_ssh(spec: MachineSpec, wanted: Wanted, folder: Path, acceleration: Acceleration) -> int:
    """Start a machine, log in by SSH, and stop it. With ``keep`` it is shut down, so that its disks are complete."""
    port = ssh.free_port()
    spec = ssh.with_key(spec, folder, port)
    with Machine(spec, acceleration, folder, firmware=spec.find_firmware()) as machine:
        note(f"waiting for the SSH server of the machine ({acceleration.name}: {acceleration.why})")
        ssh.wait_for_server(machine, port, LOGIN if wanted.seconds is None else wanted.seconds)
        code = ssh.log_in(folder, port, wanted.command)
        if wanted.keep:
            machine.powerdown()
            machine.wait(SHUTDOWN)
        return code
