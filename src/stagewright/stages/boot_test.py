"""boots: start an image in a virtual machine and see that it does what it should (R35, R46).

Takes a stage that yields an image; yields what the machine said: console log, screenshot, and a report. A test that
failed fails the build.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.project.fields import FilesRef, Word
from stagewright.stages.base import Built, Work
from stagewright.stages.guest_test import EVIDENCE, GuestTest
from stagewright.stages.tools import QEMU
from stagewright.vm import accel
from stagewright.vm.boot import boot
from stagewright.vm.spec import MachineSpec


class Attach(enum.StrEnum):
    """How the image is put into the machine."""

    CD = "cd"
    USB = "usb"
    DISK = "disk"

    def machine(self, image: Path, *, memory: int, cpus: int) -> MachineSpec:
        """A machine with UEFI firmware that has the image attached like this."""
        return MachineSpec(
            firmware="uefi",
            memory=memory,
            cpus=cpus,
            cdrom=image if self is Attach.CD else None,
            usb=image if self is Attach.USB else None,
            disk=image if self is Attach.DISK else None,
        )


class BootTest(GuestTest, kind="boots", table="tests"):
    """A test with ``boots``."""

    needs = (QEMU,)
    traces = ("qemu-system-x86_64",)
    wants_cores = 2
    wants_memory = 2560  # the default guest, and QEMU's translated code
    exclusive = "vm"

    boots: FilesRef
    """The stage whose image is started."""
    attach: Annotated[Attach, Word()] = Attach.CD
    """How the image is put into the machine."""
    memory: Annotated[int, Field(ge=64)] = 1024
    """The machine's memory, in MiB."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    """Its processors."""

    def build(self, work: Work) -> Built:
        """Boot the image; the report is kept when the test passes, and shown when it does not."""
        image = image_of(work.artifact("boots"))
        work.phase("probe acceleration")
        acceleration = accel.probe(cache=work.store.cache("acceleration.json"))
        folder = work.new_folder(EVIDENCE)
        machine = self.attach.machine(image, memory=self.memory, cpus=self.cpus)
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
