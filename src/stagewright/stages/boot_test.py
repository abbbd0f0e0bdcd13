"""boots: start an image in a virtual machine and see that it does what it should (R35, R46).

Takes a stage that yields an image; yields what the machine said: console log, screenshot, and a report. A test that
failed fails the build.
"""

from __future__ import annotations

import enum
import shutil
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.project.fields import Section, StageRef, Word
from stagewright.stages.base import Built, Stage, Work
from stagewright.stages.tools import QEMU
from stagewright.vm import accel
from stagewright.vm.boot import boot
from stagewright.vm.script import BootCommand, BootScript, Login
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


class LoginSettings(Section):
    """Who logs in on the console."""

    user: str
    """The name."""
    password: str = ""
    """The password, if the guest asks for one."""


class Command(Section):
    """A command for the guest's shell."""

    run: str
    """What to type."""
    expect: str = ""
    """A regular expression that its output must hold."""
    status: int = 0
    """The exit status it must have."""


class BootTest(Stage, kind="boots", table="tests"):
    """A test with ``boots``."""

    yields = Yields.ARTIFACT
    publishes = True
    needs = (QEMU,)
    traces = ("qemu-system-x86_64",)
    wants_cores = 2
    wants_memory = 2560  # the default guest, and QEMU's translated code
    exclusive = "vm"

    boots: StageRef
    """The stage whose image is started."""
    attach: Annotated[Attach, Word()] = Attach.CD
    """How the image is put into the machine."""
    memory: Annotated[int, Field(ge=64)] = 1024
    """The machine's memory, in MiB."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    """Its processors."""
    timeout: Annotated[float, Field(gt=0)] = 300
    """The limit for the whole test, in seconds; emulated machines on busy hosts are slow."""
    expect: list[str] = []
    """Regular expressions that the console must show, in this order."""
    login: LoginSettings | None = None
    """Who logs in on the console."""
    commands: list[Command] = []
    """Commands for the guest's shell, in this order."""
    poweroff: bool = False
    """Switch the guest off at the end, and see that it goes."""

    @model_validator(mode="after")
    def _patterns(self) -> BootTest:
        try:
            self.script()
        except StagewrightError as error:
            raise PydanticCustomError("pattern", "{message}", {"message": error.message}) from error
        if not (self.expect or self.login or self.commands):
            raise PydanticCustomError("empty", "this test would pass whatever happens: add `expect` or `login`")
        return self

    def node_name(self, name: str) -> str:
        """Tests carry their table in their node's name."""
        return f"test:{name}"

    def script(self) -> BootScript:
        """What the virtual machine is put through."""
        return BootScript(
            expect=tuple(self.expect),
            login=Login(self.login.user, self.login.password) if self.login else None,
            commands=tuple(BootCommand(command.run, command.expect, command.status) for command in self.commands),
            poweroff=self.poweroff,
            seconds=self.timeout,
        )

    def build(self, work: Work) -> Built:
        """Boot the image; the report is kept when the test passes, and shown when it does not."""
        image = image_of(work.artifact("boots"))
        work.phase("probe acceleration")
        acceleration = accel.probe(cache=work.store.cache("acceleration.json"))
        folder = work.new_folder("boot")
        machine = self.attach.machine(image, memory=self.memory, cpus=self.cpus)
        report = boot(machine, self.script(), folder, acceleration, work.phase)
        tree = work.new_folder("tree")
        for name in ("console.log", "screen.png", "result.json"):
            if (folder / name).exists():
                shutil.move(folder / name, tree / name)
        return Built(tree, (), {"seconds": report.seconds, "milestones": report.milestones})


def image_of(artifact: Path) -> Path:
    """The image among the files of an artifact. Raises ``ENVIRONMENT_LACKS`` when there is none to boot."""
    images = sorted(path for path in artifact.iterdir() if path.suffix in (".iso", ".img", ".qcow2"))
    if not images:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS, f"nothing in {artifact} can be booted", hint="boot a stage that makes an image"
        )
    return images[0]
