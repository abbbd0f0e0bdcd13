"""boots: boot an image in a virtual machine, and check its console and the output of commands.

Input: a stage that makes an image. The result has the console log, a screenshot and a report. If the test fails, the
build fails.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.guest import MachineTest
from stagewright.kinds.common.work import Work
from stagewright.project.fields import ByValue, FilesRef
from stagewright.testing.perform import Hold
from stagewright.testing.results import Report
from stagewright.testing.script import BootScript
from stagewright.testing.setup import ISOLATED
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of


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

    def boot_script(self, files: Mapping[str, Path]) -> BootScript:
        """Return what the test does."""
        return replace(super().boot_script(files), entry=self.entry)

    def run(self, work: Work[MachineContext], folder: Path, hold: Hold | None = None) -> Report:
        """Boot the image and perform the script."""
        image = image_of(work.artifact("boots"))
        machine = self.attach.machine(
            image,
            memory=self.memory,
            cpus=self.cpus,
            firmware=self.firmware,
            arch=work.context.arch,
            variables=work.files[self.variables] if self.variables else None,
        )
        if self.network:
            machine = replace(machine, network="user", user_network=ISOLATED)
        return self.boot_run(machine, work, folder, hold).run()


def image_of(artifact: Path) -> Path:
    """Return the image among the files of an artifact. Raises: ENVIRONMENT_LACKS if no image is found."""
    images = sorted(path for path in artifact.iterdir() if path.suffix in (".iso", ".img", ".qcow2"))
    if not images:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS, f"{artifact}: no image found", hint="name a stage that makes an image"
        )
    return images[0]
