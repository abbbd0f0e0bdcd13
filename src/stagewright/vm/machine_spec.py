"""Specification of a machine, and the QEMU command line for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stagewright import run
from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.vm import tpm
from stagewright.vm.disks import DiskBus, EmptyDisk

if TYPE_CHECKING:
    from stagewright.vm.accel import Acceleration
    from stagewright.vm.firmware import Firmware

TAP = "tap0"
"""Network interface of this computer that a machine with ``network="tap"`` is connected to."""

FirmwareKind = Literal["uefi", "uefi-secure", "bios"]
"""Firmware of a machine. ``uefi-secure`` only starts signed programs."""


@dataclass(frozen=True)
class Platform:
    """QEMU's settings for an architecture: the program, the machine type, and a display.

    ``bios`` is True if QEMU has a BIOS for it.
    """

    qemu: str
    machine: str
    display: tuple[str, ...]
    bios: bool = False


_FIRST_DISK, _LAST = 10, 90
"""Boot indexes: the one before that of the first empty disk, and one after all disks."""

PLATFORMS = {
    "x86_64": Platform("qemu-system-x86_64", "q35", ("-vga", "std"), bios=True),
    # a frame buffer that the kernel takes over: with a virtio-gpu the screen is black until Linux loads a driver
    "aarch64": Platform("qemu-system-aarch64", "virt", ("-device", "ramfb")),
}
"""Platforms by QEMU's name of the architecture."""

Architecture = Literal["x86_64", "aarch64"]


def architecture_of(arch: Arch) -> Architecture:
    """Return QEMU's architecture for an architecture of programs. Raises ``HOST_FEATURE`` if it is not supported."""
    known: Mapping[Arch, Architecture] = {Arch.AMD64: "x86_64", Arch.X86: "x86_64", Arch.ARM64: "aarch64"}
    if arch not in known:
        message = f"virtual machines for {arch} are not supported (only for {', '.join(known)})"
        raise StagewrightError(Reason.HOST_FEATURE, message, hint=f"boot it on {arch} hardware")
    return known[arch]


@dataclass(frozen=True)
class MachineSpec:
    """A machine to start.

    Without ``firmware``, QEMU starts a kernel directly, without a boot loader. ``variables`` is a file with initial
    UEFI variables, for example with other keys. Disks are raw unless their name ends in ``.qcow2``. Writes of the guest
    to ``disk`` and ``usb`` are discarded unless ``keep_writes`` is set, because a test must not change the tested
    image. Firmware tries kernel, CD, USB, disk, network, empty disks in this order; with ``disks_first`` it tries the
    empty disks before the network. ``empty_disks`` are qcow2 disks that the guest may always write to. ``user_network``
    adds options to ``-netdev user`` (``tftp=...``, ``bootfile=...``, ``hostfwd=...``). ``screen`` are QEMU's arguments
    for the screen, ``extra`` are further ones.
    """

    firmware: FirmwareKind | None = "uefi"
    architecture: Architecture = "x86_64"
    variables: Path | None = None
    memory: int = 1536  # MiB
    cpus: int = 2
    cdrom: Path | None = None
    disk: Path | None = None
    usb: Path | None = None
    empty_disks: tuple[EmptyDisk, ...] = ()
    tpm: bool = False
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    network: Literal["none", "user", "tap"] = "none"
    user_network: tuple[str, ...] = ()
    keep_writes: bool = False
    disks_first: bool = False
    screen: tuple[str, ...] = ("-display", "none")
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.firmware is None and self.kernel is None:
            raise StagewrightError(Reason.INVALID_VALUE, "a machine without firmware needs a kernel")
        if self.kernel is None and (self.initrd or self.append):
            raise StagewrightError(Reason.INVALID_VALUE, "initrd and append need a kernel")
        if self.firmware == "bios" and not self.platform.bios:
            message = f"{self.architecture} machines do not have a BIOS"
            raise StagewrightError(Reason.INVALID_VALUE, message, hint="use UEFI")

    @property
    def platform(self) -> Platform:
        """QEMU's settings for the architecture."""
        return PLATFORMS[self.architecture]

    @property
    def is_uefi(self) -> bool:
        """True if the machine has UEFI firmware."""
        return self.firmware in ("uefi", "uefi-secure")

    def find_firmware(self) -> Firmware | None:
        """Return the first matching UEFI firmware on this computer, or None if the machine has no UEFI.

        ``uefi-secure`` without ``variables`` requires firmware with enrolled keys. Raises ``NO_FIRMWARE`` if nothing
        matches.
        """
        if not self.is_uefi:
            return None
        from stagewright.vm import firmware as uefi  # noqa: PLC0415  the settings of tests are read at each start

        want = ["secure-boot", *([] if self.variables else ["enrolled-keys"])] if self.firmware == "uefi-secure" else []
        machine = uefi.machine_type(self.platform.machine, self.platform.qemu)
        found = uefi.find(machine, architecture=self.architecture, want=want)
        return replace(found, variables=self.variables) if self.variables else found

    def files(self) -> list[Path]:
        """Return the files that the machine reads."""
        return [path for path in (self.cdrom, self.disk, self.usb, self.kernel, self.initrd, self.variables) if path]

    def boot_options(self) -> int:
        """Return the number of boot options of the firmware. Without iPXE, UEFI tries PXE and then HTTP."""
        network = {"none": 0, "user": 1, "tap": 2 if self.is_uefi else 1}[self.network]
        media = sum(map(bool, (self.cdrom, self.disk, self.usb, self.kernel)))
        return (media or len(self.empty_disks)) + network

    def from_disk(self) -> MachineSpec:
        """Return the same machine without image and kernel: it starts from its empty disks, before the network.

        Raises: USAGE if the machine does not have an empty disk, or no firmware.
        """
        if not self.empty_disks or self.firmware is None:
            what = "firmware" if self.empty_disks else "empty disk"
            hint = "" if self.empty_disks else 'add disk = "8G" to the test'
            raise StagewrightError(Reason.USAGE, f"the machine has no {what} to start from its disk", hint=hint)
        return replace(self, cdrom=None, usb=None, disk=None, kernel=None, initrd=None, append="", disks_first=True)


def command_line(
    spec: MachineSpec,
    acceleration: Acceleration,
    wires: Sequence[str],
    *,
    firmware: Firmware | None = None,
    variables: Path | None = None,
    qemu: str = "",
) -> list[str]:
    """Return QEMU's command line.

    ``wires`` are the arguments for serial port and monitor. ``variables`` is the machine's copy of the UEFI variables.
    """
    secure = firmware is not None and "requires-smm" in firmware.features
    platform = spec.platform
    machine = f"{platform.machine},smm=on" if secure and platform.machine == "q35" else platform.machine
    command = [qemu or platform.qemu, "-no-user-config", "-nodefaults", "-no-reboot", *acceleration.arguments]
    command += ["-machine", machine, "-m", str(spec.memory), "-smp", str(spec.cpus)]
    command += [*spec.screen, *platform.display, *wires]
    if firmware:
        assert variables
        code = f"if=pflash,unit=0,format={firmware.code_format},readonly=on,file={_quoted(firmware.code)}"
        store = f"if=pflash,unit=1,format={firmware.variables_format},file={_quoted(variables)}"
        command += ["-drive", code, "-drive", store]
    if secure:  # only firmware in SMM may write the variables (firmware.json, requires-smm)
        command += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    return [*command, *_media(spec), *_direct(spec), *_network(spec), *spec.extra]


def _media(spec: MachineSpec) -> list[str]:
    """Return the arguments for CD, USB and disk.

    The CD uses virtio-scsi: small kernels of cloud images do not have AHCI, and both UEFI and SeaBIOS boot from it.
    Boot index 0 is free for a kernel that QEMU starts on a machine with a BIOS.
    """
    words: list[str] = []
    if spec.cdrom:
        words += ["-drive", f"if=none,id=cdrom,format=raw,readonly=on,media=cdrom,file={_quoted(spec.cdrom)}"]
        words += ["-device", "virtio-scsi-pci,id=scsi", "-device", "scsi-cd,bus=scsi.0,drive=cdrom,bootindex=1"]
    keep = "" if spec.keep_writes else "snapshot=on,"
    report = "werror=report"  # the guest sees a full disk; by default QEMU silently stops the machine
    if spec.usb:
        words += ["-drive", f"if=none,id=usb,{keep}format={_format(spec.usb)},file={_quoted(spec.usb)}"]
        words += ["-device", "qemu-xhci", "-device", "usb-storage,drive=usb,removable=on,bootindex=2"]
    if spec.disk:
        words += ["-drive", f"if=none,id=disk,{keep}format={_format(spec.disk)},file={_quoted(spec.disk)}"]
        words += ["-device", f"virtio-blk-pci,drive=disk,bootindex=3,{report}"]
    return words + _empty_disks(spec)


def _empty_disks(spec: MachineSpec) -> list[str]:
    words: list[str] = []
    if any(disk.bus is DiskBus.SCSI for disk in spec.empty_disks):
        words += ["-device", "virtio-scsi-pci,id=disks"]
    for number, disk in enumerate(spec.empty_disks, 1):
        words += ["-drive", f"if=none,id=drive{number},format=qcow2,file={_quoted(disk.path)}"]
        own = f"id=disk{number},drive=drive{number},serial={disk.serial},bootindex={_FIRST_DISK + number}"
        words += ["-device", f"{disk.bus.device},{own}"]
    return words


def _direct(spec: MachineSpec) -> list[str]:
    words = ["-kernel", str(spec.kernel)] if spec.kernel else []
    words += ["-initrd", str(spec.initrd)] if spec.initrd else []
    return words + (["-append", spec.append] if spec.append else [])


def _network(spec: MachineSpec) -> list[str]:
    if spec.network == "none":
        return []
    if spec.network == "tap":
        backend = f"tap,id=net,ifname={TAP},script=no,downscript=no"
    else:
        backend = ",".join(["user", "id=net", *spec.user_network])
    return ["-netdev", backend, "-device", f"virtio-net-pci,netdev=net,bootindex={_LAST if spec.disks_first else 4}"]


def _format(path: Path) -> str:
    return "qcow2" if path.suffix == ".qcow2" else "raw"


def _quoted(path: Path) -> str:
    """Return a path for an option of QEMU, with doubled commas."""
    return str(path).replace(",", ",,")


def check(spec: MachineSpec, qemu: str = "") -> None:
    """Raise ``MISSING_TOOL`` or ``MISSING_FILE`` if QEMU or a file is missing. ``qemu`` is another program to use."""
    if spec.tpm:
        tpm.check()
    qemu = qemu or spec.platform.qemu
    if shutil.which(qemu, path=run.PATH) is None:
        from stagewright.vm.accel import INSTALL  # noqa: PLC0415  the settings of tests are read at each start

        raise StagewrightError(Reason.MISSING_TOOL, f"{qemu} is not installed", hint=INSTALL)
    for path in spec.files():
        if not path.exists():
            raise StagewrightError(Reason.MISSING_FILE, f"{path} not found")


def prepare(
    spec: MachineSpec,
    acceleration: Acceleration,
    folder: Path,
    wires: Sequence[str],
    *,
    firmware: Firmware | None,
    qemu: str = "",
) -> list[str]:
    """Copy the UEFI variables for the machine to ``folder``, and return QEMU's command line.

    Variables that are there already stay if the machine keeps its writes.
    """
    if spec.is_uefi != (firmware is not None):
        raise ValueError(f"firmware {firmware} given to a machine with {spec.firmware}")
    variables = folder / "variables.fd" if firmware else None
    if firmware and variables and not (spec.keep_writes and variables.exists()):
        shutil.copyfile(firmware.variables, variables)
    return command_line(spec, acceleration, wires, firmware=firmware, variables=variables, qemu=qemu)
