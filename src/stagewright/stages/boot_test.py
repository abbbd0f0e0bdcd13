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
from stagewright.project.fields import Section, StageRef
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
    password: str = ""


class Command(Section):
    """A command for the guest's shell: its exit status, and a regular expression its output must hold."""

    run: str
    expect: str = ""
    status: int = 0


class BootTest(Stage, kind="boots", table="tests"):
    """A test with ``boots``. ``expect`` are regular expressions that the console must show in this order.

    ``memory`` is in MiB, ``timeout`` in seconds for the whole test; emulated machines on busy hosts are slow.
    """

    yields = Yields.ARTIFACT
    publishes = True
    needs = (QEMU,)
    traces = ("qemu-system-x86_64",)
    wants_cores = 2
    wants_memory = 2560  # the default guest, and QEMU's translated code
    exclusive = "vm"

    boots: StageRef
    attach: Attach = Attach.CD
    memory: Annotated[int, Field(ge=64)] = 1024
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    timeout: Annotated[float, Field(gt=0)] = 300
    expect: list[str] = []
    login: LoginSettings | None = None
    commands: list[Command] = []
    poweroff: bool = False

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
