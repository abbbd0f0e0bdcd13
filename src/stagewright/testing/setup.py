"""The machine of a test: its specification, and its disks, which keep the writes of the guest until the end."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from stagewright import run
from stagewright.lazy_dataclass import dataclass
from stagewright.testing.lan import Lan
from stagewright.vm import disks
from stagewright.vm.accel import Acceleration
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, check
from stagewright.vm.ssh import Access, KeyBy, new_access, with_access

SCREEN = "screen.png"
"""Name of the last picture of the screen."""

ISOLATED = ("restrict=on",)
"""Options of QEMU's user network without a way to other computers. Forwarded ports work."""


@dataclass(frozen=True)
class MachineSetup:
    """A machine to start: its specification, and how it runs on this computer.

    The default ``firmware`` of a machine with UEFI is the first match. ``entry`` is the line of the boot menu to start;
    1 is the first line, which starts by default. ``lan`` is a network that it shares with other machines. ``key_by`` is
    how its guest gets the key for SSH, and ``access`` its SSH access, once it is prepared.
    """

    spec: MachineSpec
    acceleration: Acceleration
    firmware: Firmware | None = None
    qemu: str = ""
    entry: int = 1
    lan: Lan | None = None
    key_by: KeyBy = KeyBy.CREDENTIAL
    access: Access | None = None

    def from_disk(self) -> MachineSetup:
        """Return the machine without the tested image: it starts from its empty disks. Raises ``USAGE``."""
        return replace(self, spec=self.spec.from_disk(), entry=1)

    def prepared(self, folder: Path) -> MachineSetup:
        """Return the machine with its firmware, a key for SSH, and new layers of its disks in a folder.

        Raises ``MISSING_TOOL``, ``MISSING_FILE`` or ``NO_FIRMWARE``.
        """
        check(self.spec, self.qemu)
        empty = disks.placed(self.spec.empty_disks, folder)
        for name in (SCREEN, disks.LAYER, f"{disks.LAYER}.image", disks.VARIABLES, *(disk.path.name for disk in empty)):
            (folder / name).unlink(missing_ok=True)
        for name in ("tpm", "usb"):
            shutil.rmtree(folder / name, ignore_errors=True)
        spec, access = replace(self.spec, keep_writes=True, empty_disks=disks.made(empty, folder)), None
        if spec.network == "user" and shutil.which("ssh-keygen", path=run.PATH):
            access = new_access(folder, by_vsock=False)
            spec = with_access(spec, access, self.key_by)
        if spec.disk:
            spec = replace(spec, disk=disks.layer(spec.disk, folder))
        if spec.usb:
            spec = replace(spec, usb=disks.layer(spec.usb, folder / "usb"))
        return replace(self, spec=spec, access=access, firmware=self.firmware or spec.find_firmware())
