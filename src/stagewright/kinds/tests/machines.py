"""machines: several virtual machines on one network, as one test.

Inputs: the stages that make their images, and files for them. Each machine has a network card on a switch that exists
for the test only. The result has a folder for each machine with console log and screenshot, and a report. If the test
fails, the build fails.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import StagewrightError, nearest
from stagewright.graph.node import Demand, Node
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.device_settings import SWTPM, DeviceSettings
from stagewright.kinds.common.guest import ScriptedTest, acceleration_of
from stagewright.kinds.common.tools import QEMU, QEMU_ARM64, Tool
from stagewright.kinds.common.work import Work
from stagewright.kinds.tests.boots import Attach, AttachSetting, image_of, misattached
from stagewright.project.amounts import MEBIBYTES
from stagewright.project.fields import FilesRef, ImageRef, NodeRef, marked
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.run import run
from stagewright.testing.boot import BootRun
from stagewright.testing.perform import ALL, Hold
from stagewright.testing.results import Report
from stagewright.testing.setup import ISOLATED, MachineSetup
from stagewright.testing.steps import Step
from stagewright.vm.machine_spec import PLATFORMS, FirmwareKind, MachineSpec, architecture_of

XORRISO = Tool("xorriso", "xorriso", "dev-libs/libisoburn")

LABEL = "FILES"
"""Volume id of the disk with the files of a machine."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_OVERHEAD = 512  # MiB that QEMU needs in addition to the memory of a machine


class MachineSettings(DeviceSettings):
    """Settings of one of several machines."""

    boots: ImageRef | None = None
    """The stage that makes the image to boot; default: none, so that the machine starts from the network."""
    attach: AttachSetting = None
    """The device with the image: `cd`, `usb` or `disk`; default: `cd` for an ISO, `disk` for a disk image."""
    files: FilesRef | None = None
    """A stage whose files the machine gets as a read-only disk: ISO 9660 with the label FILES."""
    firmware: FirmwareKind = "uefi"
    """The firmware; `uefi-secure` starts only signed programs."""
    memory: Annotated[int, Field(ge=64), MEBIBYTES] = 1024
    """The memory of the machine: a number of MiB, or a text such as `"2G"`."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 1
    """The number of processors."""
    network: bool = False
    """Give the machine another card with DHCP and without a way to other computers, for `http` and `ssh`."""

    def spec(self, arch: Arch, image: Path | None, files: Path | None) -> MachineSpec:
        """Return the machine with its image, and with the disk of its files."""
        words = ["-drive", f"if=none,id=files,format=raw,readonly=on,file={files}"]
        words += ["-device", "virtio-blk-pci,drive=files"]
        spec = MachineSpec(
            firmware=self.firmware,
            architecture=architecture_of(arch),
            memory=self.memory,
            cpus=self.cpus,
            network="user" if self.network else "none",
            user_network=ISOLATED if self.network else (),
            extra=tuple(words) if files else (),
        )
        spec = self.with_devices(spec)
        return (self.attach or Attach.of(image)).attached(spec, image) if image else spec


class MachinesTest(ScriptedTest, kind="machines", table="tests"):
    """A test with ``machines``."""

    optional_tools = (QEMU, QEMU_ARM64, XORRISO, SWTPM)
    context_model = MachineContext
    private_ids = False

    machines: Annotated[dict[str, MachineSettings], Field(min_length=1)]
    """The machines by name. They share a network, without a DHCP server. A machine starts at its first step."""

    @model_validator(mode="after")
    def _names(self) -> MachinesTest:
        for name in self.machines:
            if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name == ALL:
                facts = {"name": repr(name), "hint": "write a lower-case name such as server", "at": f"machines.{name}"}
                raise PydanticCustomError("machine", "invalid name of a machine: {name}", facts)
        if not any(machine.boots for machine in self.machines.values()):
            raise PydanticCustomError(
                "machine", "no machine has an image", {"hint": "add `boots` to one", "at": "machines"}
            )
        if not (self.steps or self.script):
            facts = {"hint": "add `steps` or `script`"}
            raise PydanticCustomError("empty", "this test checks nothing, and would always pass", facts)
        return self

    def _check_step(self, number: int, step: Step) -> None:
        known = self.machines.get(step.machine or "")
        if known is None:
            found = repr(step.machine) if step.machine else "none"
            facts = {
                "found": found,
                "hint": nearest(step.machine or "", self.machines),
                "at": f"steps.{number}.machine",
            }
            raise PydanticCustomError("machine", "`machine` must be one of the machines (found {found})", facts)
        known.check_disk_step(number, step, str(step.machine))
        if step.needs_network and not known.network:
            facts = {"hint": f"add network = true to {step.machine}", "at": f"steps.{number}.{step.verb}"}
            raise PydanticCustomError("network", f"`{step.verb}`: the machine has no network", facts)

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the devices fit the images."""
        yield from super().check(project)
        for name, machine in self.machines.items():
            yield from misattached(project, machine.boots or "", machine.attach, ("machines", name, "attach"))

    def machine_names(self) -> tuple[str, ...]:
        """Return the names of the machines: the parameters of the function `test`."""
        return tuple(self.machines)

    def node_context(self, node_id: str, scope: Scope) -> MachineContext:
        """Return the architecture of the machines: that of the first image."""
        started = next(value for path, _, value in marked(self, NodeRef) if path[-1] == "boots")
        return MachineContext(source_date_epoch=scope.project.epoch, arch=Arch(scope.arch(started)))

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the programs and the memory that its machines need."""
        node = super().node(node_id, scope)
        assert isinstance(node.context, MachineContext)
        tools = [PLATFORMS[architecture_of(node.context.arch)].qemu]
        tools += [XORRISO.program] if any(machine.files for machine in self.machines.values()) else []
        tools += sorted({tool for machine in self.machines.values() for tool in machine.device_tools})
        memory = sum(machine.memory + _OVERHEAD for machine in self.machines.values())
        return replace(node, tools=(*node.tools, *tools), demand=Demand(cores=2, memory=memory, exclusive="vm"))

    def run(self, work: Work[MachineContext], folder: Path, hold: Hold | None = None) -> Report:
        """Start the machines and perform the script."""
        acceleration = acceleration_of(work)
        setups = {name: MachineSetup(spec, acceleration) for name, spec in self._specs(work)}
        name = work.node.id.rpartition(":")[2]
        script = self.boot_script(work.files)
        return BootRun(setups, script, folder, name, work.files, work.phase, hold).run()

    def _specs(self, work: Work[Any]) -> Iterator[tuple[str, MachineSpec]]:
        for name, machine in sorted(self.machines.items()):
            image = image_of(work.artifact(f"machines.{name}.boots")) if machine.boots else None
            files = _disc(work, name) if machine.files else None
            yield name, machine.spec(work.context.arch, image, files)


def _disc(work: Work[Any], name: str) -> Path:
    """Make the disk with the files of a machine."""
    work.phase(f"make the disk with files for {name}")
    path = work.folder / f"{name}.files.iso"
    words = ["xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-r", "-V", LABEL, "-o", str(path)]
    run([*words, str(work.artifact(f"machines.{name}.files"))])
    return path
