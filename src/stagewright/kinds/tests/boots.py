"""boots: boot an image in a virtual machine, and check its console and the output of commands.

Input: a stage that makes an image. The result has the console log, a screenshot and a report. If the test fails, the
build fails.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.guest import MachineTest
from stagewright.kinds.common.work import Work
from stagewright.media.disk.formats import Format
from stagewright.project.fields import ByValue, ImageRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath, setting_name
from stagewright.testing.script import BootScript
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of

if TYPE_CHECKING:
    from stagewright.testing.perform import Hold
    from stagewright.testing.results import Report

ISO = ".iso"


class Attach(enum.StrEnum):
    """The device of the virtual machine that contains the image."""

    CD = "cd"
    USB = "usb"
    DISK = "disk"

    @classmethod
    def of(cls, image: Path) -> Attach:
        """Return the device for an image, by its name."""
        return cls.CD if image.suffix == ISO else cls.DISK

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


_STARTED = (Format.QCOW2, Format.RAW)

AttachSetting = Annotated[
    Annotated[Attach, ByValue()] | None, Field(default=None, exclude_if=lambda attach: attach is None)
]
"""The device with an image; None for the one that fits it."""


def misattached(
    project: Project, image: str, attach: Attach | None, path: KeyPath
) -> Iterator[tuple[KeyPath, StagewrightError]]:
    """Yield an error if a disk image is to be a CD, or has a format that QEMU does not start."""
    entry = project.entries["stages"].get(image)
    made = getattr(entry.model, "format", None) if entry else None
    if not isinstance(made, Format):  # only the kinds of disk images have it; their code is not part of this one
        return
    name = setting_name(path)
    if attach is Attach.CD:
        message = f"{name}: {image!r} makes a disk image, which no machine starts as a CD"
        yield path, StagewrightError(Reason.INVALID_VALUE, message, hint=f"remove {path[-1]}: disk images are disks")
    if made not in _STARTED:
        what = (*path[:-1], "boots")
        message = f"{setting_name(what)}: tests start no image of the format {made} ({image!r})"
        hint = f"test an image of the same root with format = {' or '.join(_STARTED)}"
        yield what, StagewrightError(Reason.INVALID_VALUE, message, hint=hint)


class BootTest(MachineTest, kind="boots", table="tests"):
    """A test with ``boots``."""

    private_ids = False

    boots: ImageRef
    """The stage that makes the image to boot."""
    attach: AttachSetting = None
    """The device with the image: `cd`, `usb` or `disk`; default: `cd` for an ISO, `disk` for a disk image."""
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

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the device fits the image."""
        yield from super().check(project)
        yield from misattached(project, self.boots, self.attach, ("attach",))

    def boot_script(self, files: Mapping[str, Path]) -> BootScript:
        """Return what the test does."""
        return replace(super().boot_script(files), entry=self.entry)

    def run(self, work: Work[MachineContext], folder: Path, hold: Hold | None = None) -> Report:
        """Boot the image and perform the script."""
        image = image_of(work.artifact("boots"))
        machine = (self.attach or Attach.of(image)).machine(
            image,
            memory=self.memory,
            cpus=self.cpus,
            firmware=self.firmware,
            arch=work.context.arch,
            variables=work.files[self.variables] if self.variables else None,
        )
        if self.network:
            from stagewright.testing.setup import ISOLATED

            machine = replace(machine, network="user", user_network=ISOLATED)
        return self.boot_run(machine, work, folder, hold).run()


def image_of(artifact: Path) -> Path:
    """Return the image among the files of an artifact. Raises: ENVIRONMENT_LACKS if no image is found."""
    images = sorted(path for path in artifact.iterdir() if path.suffix in (ISO, ".img", ".qcow2"))
    if not images:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS, f"{artifact}: no image found", hint="name a stage that makes an image"
        )
    return images[0]
