"""What tests of a running system share: what the console must show, who logs in, and the report that is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.base import Built, Scope, Stage, Work
from stagewright.kinds.common.tools import QEMU, QEMU_ARM64, Tool
from stagewright.project.fields import Section
from stagewright.vm import accel
from stagewright.vm.accel import Acceleration
from stagewright.vm.machine_spec import PLATFORMS, FirmwareKind, architecture_of
from stagewright.vm.script import BootCommand, BootScript, Login, Report

TEST_ARTIFACTS = "boot"
"""The folder, in the work folder, for all that a guest said and showed."""


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


class TestStage(Stage):
    """Base of all tests: they yield a report."""

    yields = Yields.ARTIFACT
    publishes = True

    def node_name(self, name: str) -> str:
        """Tests carry their table in their node's name."""
        return f"test:{name}"


class GuestTest(TestStage):
    """Base of tests that start a system and talk to its console."""

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
    def _patterns(self) -> GuestTest:
        try:
            script = self.script()
        except StagewrightError as error:
            raise PydanticCustomError("pattern", "{message}", {"message": error.message}) from error
        if not (script.expect or script.login or script.commands):
            raise PydanticCustomError("empty", "this test would pass whatever happens: add `expect` or `login`")
        return self

    def script(self) -> BootScript:
        """What the system is put through."""
        return BootScript(
            expect=tuple(self.expect),
            login=Login(self.login.user, self.login.password) if self.login else None,
            commands=tuple(BootCommand(command.run, command.expect, command.status) for command in self.commands),
            poweroff=self.poweroff,
            seconds=self.timeout,
        )

    def kept(self, report: Report, folder: Path, work: Work) -> Built:
        """The report and the evidence for it."""
        tree = work.new_folder("tree")
        for name in ("console.log", "screen.png", "result.json"):
            if (folder / name).exists():
                shutil.move(folder / name, tree / name)
        return Built(tree, (), {"seconds": report.seconds, "milestones": report.milestones})


class MachineTest(GuestTest):
    """Base of tests that start a virtual machine: of the architecture of what they start."""

    optional_tools: ClassVar[tuple[Tool, ...]] = (QEMU, QEMU_ARM64)
    wants_cores = 2
    wants_memory = 2560  # the default guest, and QEMU's translated code
    exclusive = "vm"

    firmware: FirmwareKind = "uefi"
    """What starts it; `uefi-secure` starts nothing that is not signed."""
    memory: Annotated[int, Field(ge=64)] = 1024
    """The machine's memory, in MiB."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    """Its processors."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node, with the architecture of what is started and the program that makes such machines.

        Raises ``INVALID_VALUE`` for firmware that these do not have.
        """
        node = super().node(node_id, scope, **context)
        arch = Arch(scope.arch(next(iter(node.refs.values()))))
        platform = PLATFORMS[architecture_of(arch)]
        if self.firmware == "bios" and not platform.bios:
            place = scope.project.entries[self.table][node_id.rpartition(":")[2]].place(("firmware",))
            message = f"firmware: machines of {arch} have no BIOS"
            raise StagewrightError(Reason.INVALID_VALUE, message, place=place, hint='set firmware = "uefi"')
        return replace(node, context={**node.context, "arch": str(arch)}, tools=(*node.tools, platform.qemu))

    def acceleration(self, work: Work) -> Acceleration:
        """How the machine runs here; finding that out takes a moment."""
        work.phase("probe acceleration")
        return accel.of(architecture_of(Arch(work.context["arch"])), cache=work.store.cache("acceleration.json"))
