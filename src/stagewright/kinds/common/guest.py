"""Base classes of tests, and of tests of a running system: console, login, commands, report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.node import Demand, Node
from stagewright.kinds.common.artifact import OutputKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.console_settings import ConsoleSettings
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.device_settings import SWTPM, DeviceSettings
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import QEMU, QEMU_ARM64, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.amounts import MEBIBYTES, SECONDS
from stagewright.project.fields import FilePath, NodeRef, Pattern, Section, marked
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.testing.script import BootCommand, BootScript, Login
from stagewright.testing.steps import LoginSettings, Step
from stagewright.testing.timeline import ONLY
from stagewright.vm.console_scan import Finding
from stagewright.vm.known_failures.early import REFUSED
from stagewright.vm.machine_spec import PLATFORMS, FirmwareKind, MachineSpec, architecture_of

if TYPE_CHECKING:
    from stagewright.testing.boot import BootRun
    from stagewright.testing.perform import Hold
    from stagewright.testing.results import Report
    from stagewright.vm.accel import Acceleration

TEST_ARTIFACTS = "boot"
"""Folder in the work folder for console log, screenshots and report of a guest."""


class Command(Section):
    """A command for the shell of the guest."""

    run: str
    """The command line."""
    expect: Pattern = ""
    """A regular expression that the output must contain."""
    status: int = 0
    """The required exit status."""


class GuestFacts(Facts):
    """Facts of a test that started a system."""

    seconds: float
    milestones: dict[str, float]
    """Seconds from the start, by what the console showed."""
    findings: tuple[Finding, ...] = ()
    """Lines of the console that show known failures."""
    findings_dropped: int = 0
    """Number of further lines that were not kept."""

    @classmethod
    def of_report(cls, report: Report) -> GuestFacts:
        """Return the facts of a test that passed."""
        return cls(
            seconds=report.seconds,
            milestones=dict(report.machine.milestones),
            findings=tuple(finding for machine in report.machines for finding in machine.findings),
            findings_dropped=sum(machine.findings_dropped for machine in report.machines),
        )


class SystemTest(OutputKind):
    """Base of all tests: they yield a folder with a report."""


class ScriptedTest(ConsoleSettings, SystemTest):
    """Base of tests that perform steps with running systems."""

    facts_model = GuestFacts

    timeout: Annotated[float, Field(gt=0), SECONDS] = 300
    """The limit for the whole test: a number of seconds, or a text such as `"10m"`. Emulated machines on busy hosts
    are slow."""
    steps: list[Step] = Field(default=[], exclude_if=lambda steps: not steps)
    """Steps of the test, in this order: tables with one verb each (docs/testing.md)."""
    script: FilePath | None = Field(default=None, exclude_if=lambda path: path is None)
    """A Python file with a function `test`, in place of `steps` (docs/testing.md). It runs on this computer."""

    @model_validator(mode="after")
    def _one_form(self) -> ScriptedTest:
        if self.steps and self.script:
            facts = {"hint": "remove one of the two", "at": "script"}
            raise PydanticCustomError("script", "`steps` and `script` exclude each other", facts)
        for number, step in enumerate(self.steps):
            self._check_step(number, step)
        return self

    def _check_step(self, number: int, step: Step) -> None:
        """Raise PydanticCustomError for a step that does not fit the test."""

    def machine_names(self) -> tuple[str, ...]:
        """Return the names of the machines: the parameters of the function `test`."""
        return (ONLY,)

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check the Python file without running it, and the permitted errors."""
        yield from super().check(project)
        path = project.path(self.script) if self.script else None
        if path and path.is_file():
            from stagewright.testing.perform import check_file

            yield from ((("script",), error) for error in check_file(path, self.machine_names()))

    def boot_script(self, files: Mapping[str, Path]) -> BootScript:
        """Return what the test does. ``files`` are those of the project by their path."""
        file = files[self.script] if self.script else None
        failures = self.own_failures()
        return BootScript(steps=tuple(self.steps), file=file, seconds=self.timeout, failures=failures)

    def run(self, work: Work[Any], folder: Path, hold: Hold | None = None) -> Report:
        """Run the test and return its report. ``folder`` gets console logs, pictures and the report.

        ``hold`` is called at its end, while the machines still run. The error of a failed test contains the report.
        """
        raise NotImplementedError

    def build(self, work: Work[Any]) -> Built:
        """Run the test. The error of a failed test contains the report."""
        folder = work.new_folder(TEST_ARTIFACTS)
        report = self.run(work, folder)
        tree = work.new_folder("tree")
        for path in sorted(folder.rglob("*")):
            if is_result(path.relative_to(folder)) and path.is_file():
                target = tree / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
        return Built(tree, GuestFacts.of_report(report))


def is_result(path: PurePath) -> bool:
    """Return True if a file in the folder of a test is a result. Others are disks, variables and logs of QEMU."""
    from stagewright.testing.guest import FILES

    if FILES in path.parts[:-1]:
        return True
    return path.suffix in (".png", ".svg", ".json", ".jsonl") or path.match("console*.log")


class GuestTest(ScriptedTest):
    """Base of tests that start one system and use its console."""

    expect: list[Pattern] = []
    """Regular expressions that the console must show, in this order. `steps` and `script` come after the commands."""
    login: LoginSettings | None = None
    """The user to log in on the console."""
    commands: list[Command] = []
    """Commands for the shell of the guest, in this order."""
    poweroff: bool = False
    """Power the guest off at the end, and check that it stops."""

    @model_validator(mode="after")
    def _patterns(self) -> GuestTest:
        try:
            script = self.boot_script({str(self.script): Path()})
        except StagewrightError as error:
            raise PydanticCustomError("pattern", "{message}", {"message": error.message}) from error
        if not (script.expect or script.login or script.commands or script.steps or script.file):
            facts = {"hint": "add `expect`, `login`, `steps` or `script`"}
            raise PydanticCustomError("empty", "this test checks nothing, and would always pass", facts)
        return self

    def _check_step(self, number: int, step: Step) -> None:
        if step.machine is not None:
            facts = {"hint": "remove it; it is for tests with several machines", "at": f"steps.{number}.machine"}
            raise PydanticCustomError("machine", "`machine`: this test has one machine", facts)

    def boot_script(self, files: Mapping[str, Path]) -> BootScript:
        """Return what the test does."""
        return replace(
            super().boot_script(files),
            expect=tuple(self.expect),
            login=Login(self.login.user, self.login.password) if self.login else None,
            commands=tuple(BootCommand(command.run, command.expect, command.status) for command in self.commands),
            poweroff=self.poweroff,
        )


class MachineTest(DeviceSettings, GuestTest):
    """Base of tests that start a virtual machine, with the architecture of the system that they start."""

    optional_tools: ClassVar[tuple[Tool, ...]] = (QEMU, QEMU_ARM64, SWTPM)
    demand = Demand(cores=2, memory=2560, exclusive="vm")  # memory: the default guest, and QEMU's translated code
    context_model: ClassVar[type[MachineContext]] = MachineContext

    firmware: FirmwareKind = "uefi"
    """The firmware; `uefi-secure` starts only signed programs."""
    memory: Annotated[int, Field(ge=64), MEBIBYTES] = 1024
    """The memory of the machine: a number of MiB, or a text such as `"2G"`."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    """The number of processors."""
    variables: FilePath | None = None
    """A file with UEFI variables, for example a copy of OVMF's with your keys; default: the file of the firmware."""
    refused: bool = False
    """Check that the firmware refuses to start the image, as Secure Boot does without a valid signature."""
    network: bool = Field(default=False, exclude_if=lambda network: not network)
    """Give the machine a network card with DHCP and without a way to other computers, for `http` and `ssh`."""

    @model_validator(mode="after")
    def _fits_firmware(self) -> MachineTest:
        if self.variables and self.firmware == "bios":
            facts = {"hint": "remove it, or set firmware to uefi or uefi-secure"}
            raise PydanticCustomError("firmware", "`variables`: a BIOS does not have UEFI variables", facts)
        if self.refused and (self.expect or self.login or self.commands or self.poweroff or self.steps or self.script):
            facts = {"hint": "remove `expect`, `login`, `commands`, `steps`, `script` and `poweroff`"}
            raise PydanticCustomError(
                "refused", "`refused`: an image that is refused shows nothing on the console", facts
            )
        return self

    def _check_step(self, number: int, step: Step) -> None:
        super()._check_step(number, step)
        self.check_disk_step(number, step, "the test")
        if step.needs_network and not self.has_network:
            facts = {"hint": "add network = true to the test", "at": f"steps.{number}.{step.verb}"}
            raise PydanticCustomError("network", f"`{step.verb}`: the machine has no network", facts)

    @property
    def has_network(self) -> bool:
        """True if ports of the machine can be reached from this computer."""
        return self.network

    def boot_script(self, files: Mapping[str, Path]) -> BootScript:
        """Return what the test does."""
        script = super().boot_script(files)
        return replace(script, expect=(REFUSED,)) if self.refused else script

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
        return replace(node, tools=(*node.tools, platform.qemu, *self.device_tools))

    @staticmethod
    def _arch(node: Node) -> Arch:
        assert isinstance(node.context, MachineContext)
        return node.context.arch

    @staticmethod
    def _place(node: Node, scope: Scope, setting: str) -> Place | None:
        entry = scope.project.entry_of(node.id)
        return entry.place((setting,)) if entry else None

    def boot_run(self, spec: MachineSpec, work: Work[MachineContext], folder: Path, hold: Hold | None) -> BootRun:
        """Return the run of the test with one machine."""
        from stagewright.testing.boot import BootRun
        from stagewright.testing.setup import MachineSetup

        script = self.boot_script(work.files)
        setup = MachineSetup(self.with_devices(spec), acceleration_of(work), entry=script.entry)
        name = work.node.id.rpartition(":")[2]
        return BootRun({ONLY: setup}, script, folder, name, work.files, work.phase, hold)


def acceleration_of(work: Work[MachineContext]) -> Acceleration:
    """Return how the machines of a test run on this computer. It takes a moment to find out."""
    from stagewright.vm import accel

    work.phase("probe acceleration")
    return accel.of(architecture_of(work.context.arch), cache=work.store.memory("acceleration.json"))
