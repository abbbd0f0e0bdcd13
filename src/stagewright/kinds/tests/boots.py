"""boots: boot an image in a virtual machine, and check its console and the output of commands.

Input: a stage that makes an image. The result has the console log, a screenshot and a report. If the test fails, the
build fails.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.guest import TEST_ARTIFACTS, MachineTest
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import ByValue, FilesRef
from stagewright.vm.boot import boot
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of
from stagewright.vm.script import BootScript


class Attach(enum.StrEnum):
    """The device of the virtual machine that contains the image."""

    CD = "cd"
    USB = "usb"
    DISK = "disk"

    def machine(
        self,
        image: Path,
        *,
        memory: int,
        cpus: int,
        firmware: FirmwareKind = "uefi",
        arch: Arch = Arch.AMD64,
        variables: Path | None = None,
    ) -> MachineSpec:
        """Return a machine with the image on this device."""
        spec = MachineSpec(
            firmware=firmware,
            architecture=architecture_of(arch),
            variables=variables,
            memory=memory,
            cpus=cpus,
        )
        return self.attached(spec, image)

    def attached(self, spec: MachineSpec, image: Path) -> MachineSpec:
        """Return a machine with an image on this device in addition."""
        match self:
            case Attach.CD:
                return replace(spec, cdrom=image)
            case Attach.USB:
                return replace(spec, usb=image)
        return replace(spec, disk=image)


class BootTest(MachineTest, kind="boots", table="tests"):
    """A test with ``boots``."""

    private_ids = False

    boots: FilesRef
    """The stage that makes the image to boot."""
    attach: Annotated[Attach, ByValue()] = Attach.CD
    """The device with the image: `cd`, `usb` or `disk`."""
    entry: Annotated[int, Field(ge=1, le=100)] = 1
    """The number of the boot menu's entry to start; 1 is the default entry. Other entries need a menu on the console
    (`console=ttyS0` in the kernel arguments of the medium)."""

    @model_validator(mode="after")
    def _fits(self) -> BootTest:
        if self.entry > 1 and self.refused:
            raise PydanticCustomError(
                "entry", "`entry`: an image that is refused shows no boot menu", {"hint": "remove it"}
            )
        return self

    def script(self) -> BootScript:
        """Return the steps of the test."""
        return replace(super().script(), entry=self.entry)

    def build(self, work: Work[MachineContext]) -> Built:
        """Boot the image. The error of a failed test contains the report."""
        image = image_of(work.artifact("boots"))
        machine = self.attach.machine(
            image,
            memory=self.memory,
            cpus=self.cpus,
            firmware=self.firmware,
            arch=work.context.arch,
            variables=work.files[self.variables] if self.variables else None,
        )
        acceleration = self.acceleration(work)
        folder = work.new_folder(TEST_ARTIFACTS)
        report = boot(machine, self.script(), folder, acceleration, work.phase)
        return self.collected(report, folder, work)


def image_of(artifact: Path) -> Path:
    """Return the image among the files of an artifact. Raises: ENVIRONMENT_LACKS if no image is found."""
    images = sorted(path for path in artifact.iterdir() if path.suffix in (".iso", ".img", ".qcow2"))
    if not images:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS, f"{artifact}: no image found", hint="name a stage that makes an image"
        )
    return images[0]
