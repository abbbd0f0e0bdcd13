"""Base classes of tests, and of tests of a running system: console, login, commands, report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.given import SecretInKey
from stagewright.graph.node import Demand, Node
from stagewright.kinds.common.artifact import OutputKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import MachineContext, StageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import QEMU, QEMU_ARM64, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import FilePath, NodeRef, Section, marked
from stagewright.vm import accel
from stagewright.vm.accel import Acceleration
from stagewright.vm.console_lines import TIMED_LOG
from stagewright.vm.known_failures.early import REFUSED
from stagewright.vm.machine_spec import PLATFORMS, FirmwareKind, architecture_of
from stagewright.vm.script import BootCommand, BootScript, Login, Report

TEST_ARTIFACTS = "boot"
"""Folder in the work folder for console log, screenshots and report of a guest."""


class LoginSettings(Section):
    """Settings for the login on the console."""

    user: str
    """The name of the user."""
    password: Annotated[str, SecretInKey(frozenset({""}))] = ""
    """The password, if the guest asks for one."""


class Command(Section):
    """A command for the shell of the guest."""

    run: str
    """The command line."""
    expect: str = ""
    """A regular expression that the output must contain."""
    status: int = 0
    """The required exit status."""


class GuestFacts(Facts):
    """Facts of a test that started a system."""

    seconds: float
    milestones: dict[str, float]
    """Seconds from the start, by what the console showed."""


class SystemTest(OutputKind):
    """Base of all tests: they yield a folder with a report."""


class GuestTest(SystemTest):
    """Base of tests that start a system and use its console."""

    facts_model = GuestFacts

    timeout: Annotated[float, Field(gt=0)] = 300
    """The limit for the whole test, in seconds. Emulated machines on busy hosts are slow."""
    expect: list[str] = []
    """Regular expressions that the console must show, in this order."""
    login: LoginSettings | None = None
    """The user to log in on the console."""
    commands: list[Command] = []
    """Commands for the shell of the guest, in this order."""
    poweroff: bool = False
    """Power the guest off at the end, and check that it stops."""

    @model_validator(mode="after")
    def _patterns(self) -> GuestTest:
        try:
            script = self.script()
        except StagewrightError as error:
            raise PydanticCustomError("pattern", "{message}", {"message": error.message}) from error
        if not (script.expect or script.login or script.commands):
            raise PydanticCustomError("empty", "this test checks nothing: add `expect` or `login`")
        return self

    def script(self) -> BootScript:
        """Return the steps of the test."""
        return BootScript(
            expect=tuple(self.expect),
            login=Login(self.login.user, self.login.password) if self.login else None,
            commands=tuple(BootCommand(command.run, command.expect, command.status) for command in self.commands),
            poweroff=self.poweroff,
            seconds=self.timeout,
        )

    def collected(self, report: Report, folder: Path, work: Work[StageContext]) -> Built:
        """Return the report, console log and screenshot."""
        tree = work.new_folder("tree")
        for name in ("console.log", TIMED_LOG, "screen.png", "result.json"):
            if (folder / name).exists():
                shutil.move(folder / name, tree / name)
        return Built(tree, GuestFacts(seconds=report.seconds, milestones=report.milestones))


class MachineTest(GuestTest):
    """Base of tests that start a virtual machine, with the architecture of the system that they start."""

    optional_tools: ClassVar[tuple[Tool, ...]] = (QEMU, QEMU_ARM64)
    demand = Demand(cores=2, memory=2560, exclusive="vm")  # memory: the default guest, and QEMU's translated code
    context_model = MachineContext

    firmware: FirmwareKind = "uefi"
    """The firmware; `uefi-secure` starts only signed programs."""
    memory: Annotated[int, Field(ge=64)] = 1024
    """The memory of the machine, in MiB."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    """The number of processors."""
    variables: FilePath | None = None
    """A file with UEFI variables, for example a copy of OVMF's with your keys; default: the file of the firmware."""
    refused: bool = False
    """Check that the firmware refuses to start the image, as Secure Boot does without a valid signature."""

    @model_validator(mode="after")
    def _fits_firmware(self) -> MachineTest:
        if self.variables and self.firmware == "bios":
            facts = {"hint": "remove it, or set firmware to uefi or uefi-secure"}
            raise PydanticCustomError("firmware", "`variables`: a BIOS does not have UEFI variables", facts)
        if self.refused and (self.expect or self.login or self.commands or self.poweroff):
            facts = {"hint": "remove `expect`, `login`, `commands` and `poweroff`"}
            raise PydanticCustomError(
                "refused", "`refused`: an image that is refused shows nothing on the console", facts
            )
        return self

    def script(self) -> BootScript:
        """Return the steps of the test."""
        return replace(super().script(), expect=(REFUSED,)) if self.refused else super().script()

    def node_context(self, node_id: str, scope: Scope) -> MachineContext:
        """Return the architecture of the machine: that of the system that it starts."""
        started = next(value for _, _, value in marked(self, NodeRef))
        return MachineContext(source_date_epoch=scope.project.epoch, arch=Arch(scope.arch(started)))

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the program that runs machines of the architecture.

        Raises: INVALID_VALUE if machines of the architecture do not have the firmware.
        """
        node = super().node(node_id, scope)
        arch = self._arch(node)
        platform = PLATFORMS[architecture_of(arch)]
        if self.firmware == "bios" and not platform.bios:
            message = f"firmware: machines of {arch} have no BIOS"
            place = self._place(node, scope, "firmware")
            raise StagewrightError(Reason.INVALID_VALUE, message, place=place, hint='set firmware = "uefi"')
        return replace(node, tools=(*node.tools, platform.qemu))

    @staticmethod
    def _arch(node: Node) -> Arch:
        assert isinstance(node.context, MachineContext)
        return node.context.arch

    @staticmethod
    def _place(node: Node, scope: Scope, setting: str) -> Place | None:
        entry = scope.project.entry_of(node.id)
        return entry.place((setting,)) if entry else None

    def acceleration(self, work: Work[MachineContext]) -> Acceleration:
        """Return how the machine runs on this computer. It takes a moment to find out."""
        work.phase("probe acceleration")
        return accel.of(architecture_of(work.context.arch), cache=work.store.cache("acceleration.json"))
