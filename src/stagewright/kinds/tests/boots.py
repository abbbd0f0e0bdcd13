"""boots: start an image in a virtual machine and see that it does what it should (R35, R46).

Takes a stage that yields an image; yields what the machine said: console log, screenshot, and a report. A test that
failed fails the build.
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
from stagewright.project.fields import ByValue, FilePath, FilesRef
from stagewright.vm.boot import boot
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of
from stagewright.vm.script import BootScript

REFUSED = r"BdsDxe: failed to load .*(Access Denied|Security Violation)"
"""What OVMF says of a program without a signature that it knows."""


class Attach(enum.StrEnum):
    """How the image is put into the machine."""

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
        """A machine that has the image attached like this."""
        return MachineSpec(
            firmware=firmware,
            architecture=architecture_of(arch),
            variables=variables,
            memory=memory,
            cpus=cpus,
            cdrom=image if self is Attach.CD else None,
            usb=image if self is Attach.USB else None,
            disk=image if self is Attach.DISK else None,
        )


class BootTest(MachineTest, kind="boots", table="tests"):
    """A test with ``boots``."""

    boots: FilesRef
    """The stage whose image is started."""
    attach: Annotated[Attach, ByValue()] = Attach.CD
    """How the image is put into the machine: as a disc, a USB stick, or a disk."""
    variables: FilePath | None = None
    """UEFI variables to start with, such as OVMF's with keys of one's own; default: the firmware's own."""
    entry: Annotated[int, Field(ge=1, le=100)] = 1
    """Which line of the boot menu to start, counted from the first, which starts by itself; takes a menu on the console
    (`console=ttyS0` among the arguments of the medium's kernel)."""
    refused: bool = False
    """The firmware must refuse to start it, as secure firmware does without the right signature."""

    @model_validator(mode="after")
    def _fits(self) -> BootTest:
        if self.variables and self.firmware == "bios":
            facts = {"hint": "leave it out, or set firmware to uefi or uefi-secure"}
            raise PydanticCustomError("firmware", "`variables`: a BIOS has none", facts)
        if self.entry > 1 and self.refused:
            raise PydanticCustomError("entry", "`entry`: what is refused has no boot menu", {"hint": "leave it out"})
        if self.refused and (self.expect or self.login or self.commands or self.poweroff):
            facts = {"hint": "leave `expect`, `login`, `commands` and `poweroff` out"}
            raise PydanticCustomError("refused", "`refused`: what the firmware refuses to start says nothing", facts)
        return self

    def script(self) -> BootScript:
        """What the machine is put through."""
        script = replace(super().script(), entry=self.entry)
        return replace(script, expect=(REFUSED,)) if self.refused else script

    def build(self, work: Work[MachineContext]) -> Built:
        """Boot the image; the report is kept when the test passes, and shown when it does not."""
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
        return self.kept(report, folder, work)


def image_of(artifact: Path) -> Path:
    """The image among the files of an artifact. Raises ``ENVIRONMENT_LACKS`` when there is none to boot."""
    images = sorted(path for path in artifact.iterdir() if path.suffix in (".iso", ".img", ".qcow2"))
    if not images:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS, f"nothing in {artifact} can be booted", hint="boot a stage that makes an image"
        )
    return images[0]
