"""Settings of tests about the devices of a virtual machine that do not come from an image: empty disks and a TPM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.kinds.common.tools import Tool
from stagewright.project.fields import ByValue, Matching, Section
from stagewright.testing.steps import Step
from stagewright.units import size_hint
from stagewright.vm.disks import SERIAL, SIZE, DiskBus, EmptyDisk, disk_size
from stagewright.vm.machine_spec import MachineSpec

SWTPM = Tool("swtpm", "swtpm", "app-crypt/swtpm")

DiskSize = Annotated[str, Matching(SIZE, 'a number and M, G or T, such as "8G"', size_hint)]


class DiskSettings(Section):
    """Settings of an empty disk."""

    size: DiskSize
    """The size: a number and M, G or T. It uses no space until the guest writes to it."""
    serial: Annotated[str, Matching(SERIAL, "up to 20 letters, digits, - and _")] | None = None
    """The serial number, a part of the names in /dev/disk/by-id; default: `disk1` for the first disk, `disk2`."""
    bus: Annotated[DiskBus, ByValue()] = DiskBus.VIRTIO
    """The bus: `virtio`, `scsi` or `nvme`."""


class DeviceSettings(Section):
    """Settings of a machine about its empty disks and its TPM."""

    disk: DiskSize | None = Field(default=None, exclude_if=lambda size: size is None)
    """Give the machine an empty disk of this size, such as `8G`. It lasts until the end of the test."""
    disks: list[DiskSettings] = Field(default=[], max_length=20, exclude_if=lambda disks: not disks)
    """Several empty disks, or one with a serial number or another bus, in place of `disk`."""
    tpm: bool = Field(default=False, exclude_if=lambda tpm: not tpm)
    """Give the machine a TPM 2.0, emulated by swtpm. Its state lasts until the end of the test."""

    @model_validator(mode="after")
    def _one_form_of_disks(self) -> DeviceSettings:
        if self.disk and self.disks:
            facts = {"hint": "remove one of the two", "at": "disk"}
            raise PydanticCustomError("disk", "`disk` and `disks` exclude each other", facts)
        return self

    def with_devices(self, spec: MachineSpec) -> MachineSpec:
        """Return a machine with these devices in addition."""
        return replace(spec, empty_disks=self._empty_disks(), tpm=self.tpm)

    def _empty_disks(self) -> tuple[EmptyDisk, ...]:
        wanted: Sequence[DiskSettings] = [DiskSettings(size=self.disk)] if self.disk else self.disks
        return tuple(
            EmptyDisk(disk_size(disk.size), disk.serial or f"disk{number}", disk.bus)
            for number, disk in enumerate(wanted, 1)
        )

    @property
    def device_tools(self) -> tuple[str, ...]:
        """Programs of the host that the devices need."""
        return (SWTPM.program,) if self.tpm else ()

    def check_disk_step(self, number: int, step: Step, whose: str) -> None:
        """Raise PydanticCustomError if a step starts from a disk, but the machine does not have one."""
        if step.needs_disk and not (self.disk or self.disks):
            facts = {"hint": f'add disk = "8G" to {whose}', "at": f"steps.{number}.{step.verb}"}
            raise PydanticCustomError("disk", f"`{step.verb}`: the machine does not have an empty disk", facts)
