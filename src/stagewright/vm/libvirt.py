"""Machines of libvirt: the XML of a domain, and the command line of virt-install(1).

libvirt for the system, which root uses by default, runs guests as another user, and makes this user the owner of the
files of a machine. ``relabel='no'`` keeps the owner of images, which can be hard links to results in the store. Other
users have their own libvirt, which refuses this setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from stagewright.run import paste
from stagewright.vm.disks import DiskBus
from stagewright.vm.machine_spec import MachineSpec

OSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"


@dataclass(frozen=True)
class Domain:
    """A machine of libvirt: a specification, and what libvirt needs in addition.

    ``os_variant`` is a short name of libosinfo (``osinfo-query os``), ``system_id`` its full name if it is known.
    ``medium_kernel`` are the paths of kernel and initramfs on the ISO, for virt-install. ``graphic`` adds a screen
    (``spice`` or ``vnc``). ``system`` is True for libvirt of the system.
    """

    name: str
    spec: MachineSpec
    accelerated: bool
    os_variant: str
    system_id: str = ""
    medium_kernel: tuple[str, str] | None = None
    graphic: str | None = None
    system: bool = False

    @property
    def kind(self) -> str:
        """The type of the domain."""
        return "kvm" if self.accelerated else "qemu"


def virt_install(domain: Domain) -> str:
    """Return the command line of virt-install, for a shell."""
    spec = domain.spec
    words = ["virt-install", "--name", domain.name, "--memory", str(spec.memory), "--vcpus", str(spec.cpus)]
    words += ["--virt-type", domain.kind, "--arch", spec.architecture, "--os-variant", domain.os_variant]
    words += ["--graphics", domain.graphic or "none", "--console", "pty"]
    words += _source(domain)
    for disk in spec.empty_disks:
        words += ["--disk", f"path={disk.path},format=qcow2,bus={disk.bus},serial={disk.serial}"]
    if not (spec.empty_disks or spec.disk):
        words += ["--disk", "none"]
    words += ["--network", "user,model=virtio" if spec.network == "user" else "none"]
    words += ["--boot", _firmware(spec)] if spec.is_uefi else []
    words += ["--tpm", "backend.type=emulator,backend.version=2.0"] if spec.tpm else ["--tpm", "none"]
    return paste(words)


def _source(domain: Domain) -> list[str]:
    """Return the words for the image: an ISO with or without a kernel, a disk, or a kernel alone."""
    spec = domain.spec
    if spec.cdrom and domain.medium_kernel:
        kernel, initramfs = domain.medium_kernel
        return ["-l", f"{spec.cdrom},kernel={kernel},initrd={initramfs}", "--extra-args", spec.append]
    if spec.cdrom:
        return ["--cdrom", str(spec.cdrom)]
    if spec.disk:
        return ["--import", "--disk", f"path={spec.disk},format=qcow2,bus=virtio"]
    if not spec.kernel:
        return ["--import"]
    kernel = f"kernel={spec.kernel},initrd={spec.initrd},kernel_args_overwrite=yes"
    return ["--import", "--install", f'{kernel},kernel_args="{spec.append}"']


def _firmware(spec: MachineSpec) -> str:
    """Return the value of ``--boot``. Without a demand libvirt may choose firmware that only starts signed programs."""
    wanted = "yes" if spec.firmware == "uefi-secure" else "no"
    return f"uefi,firmware.feature0.name=secure-boot,firmware.feature0.enabled={wanted}"


def domain_xml(domain: Domain) -> str:
    """Return the XML of the domain, for ``virsh define``."""
    spec, root = domain.spec, ET.Element("domain", type=domain.kind)
    _add(root, "name", domain.name)
    if domain.system_id:
        ET.register_namespace("libosinfo", OSINFO)
        info = ET.SubElement(ET.SubElement(root, "metadata"), f"{{{OSINFO}}}libosinfo")
        ET.SubElement(info, f"{{{OSINFO}}}os", id=domain.system_id)
    _add(root, "memory", str(spec.memory), unit="MiB")
    _add(root, "vcpu", str(spec.cpus))
    _add_os(root, spec)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    if spec.firmware == "uefi-secure" and spec.platform.machine == "q35":
        ET.SubElement(features, "smm", state="on")
    ET.SubElement(root, "cpu", mode="host-passthrough" if domain.accelerated else "maximum")
    devices = ET.SubElement(root, "devices")
    _add_disks(devices, spec, system=domain.system)
    if spec.network == "user":
        ET.SubElement(ET.SubElement(devices, "interface", type="user"), "model", type="virtio")
    ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(ET.SubElement(devices, "console", type="pty"), "target", type="serial")
    if spec.tpm:
        tpm = ET.SubElement(devices, "tpm", model="tpm-crb" if spec.architecture == "x86_64" else "tpm-tis")
        ET.SubElement(tpm, "backend", type="emulator", version="2.0")
    if domain.graphic:
        ET.SubElement(devices, "graphics", type=domain.graphic, autoport="yes")
        ET.SubElement(ET.SubElement(devices, "video"), "model", type="virtio")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def _add(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text


def _add_os(root: ET.Element, spec: MachineSpec) -> None:
    system = ET.SubElement(root, "os", {"firmware": "efi"} if spec.is_uefi else {})
    _add(system, "type", "hvm", arch=spec.architecture, machine=spec.platform.machine)
    if spec.is_uefi:
        firmware = ET.SubElement(system, "firmware")
        wanted = "yes" if spec.firmware == "uefi-secure" else "no"
        ET.SubElement(firmware, "feature", enabled=wanted, name="secure-boot")
    for name, value in (("kernel", spec.kernel), ("initrd", spec.initrd), ("cmdline", spec.append)):
        if value:
            _add(system, name, str(value))


def _add_disks(devices: ET.Element, spec: MachineSpec, *, system: bool) -> None:
    """Add the disks in the order of boot, as QEMU's command line has them (machine_spec.py)."""
    if spec.cdrom or any(disk.bus is DiskBus.SCSI for disk in spec.empty_disks):
        ET.SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    media: list[tuple[Path | None, str, str, str, str]] = [
        (spec.cdrom, "cdrom", "raw", "sda scsi", ""),
        (spec.disk, "disk", "qcow2", "vda virtio", ""),
    ]
    for number, empty in enumerate(spec.empty_disks, 1):
        name = {DiskBus.VIRTIO: "vd", DiskBus.SCSI: "sd", DiskBus.NVME: "nvme"}[empty.bus]
        end = f"{number - 1}n1" if empty.bus is DiskBus.NVME else chr(ord("a") + number)
        media.append((empty.path, "disk", "qcow2", f"{name}{end} {empty.bus}", empty.serial))
    for order, (path, device, kind, place, serial) in enumerate(media, 1):
        if path is None:
            continue
        target, bus = place.split()
        disk = ET.SubElement(devices, "disk", type="file", device=device)
        ET.SubElement(disk, "driver", name="qemu", type=kind)
        source = ET.SubElement(disk, "source", file=str(path))
        if device == "cdrom" and system:
            ET.SubElement(source, "seclabel", model="dac", relabel="no")
        ET.SubElement(disk, "target", dev=target, bus=bus)
        if device == "cdrom":
            ET.SubElement(disk, "readonly")
        if serial:
            _add(disk, "serial", serial)
        ET.SubElement(disk, "boot", order=str(order))
