"""netboots: start a machine from the network and see that it does what it should (R71).

Takes a stage that yields a set for network boot, and serves it to the one machine: over HTTP from this process, over
TFTP from QEMU. Yields what the machine said, and what it asked the server for. A test that failed fails the build.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event
from stagewright.graph.node import Node
from stagewright.netboot.hints import GATEWAY
from stagewright.netboot.methods import Method
from stagewright.netboot.programs import GrubNet
from stagewright.netboot.serve import FileServer
from stagewright.netboot.writer import SCRIPT
from stagewright.project.fields import FilesRef, Word
from stagewright.stages.base import Built, Scope, Work
from stagewright.stages.guest_test import EVIDENCE, MachineTest
from stagewright.vm.boot import boot
from stagewright.vm.spec import MachineSpec, architecture_of

REQUESTS = "requests.jsonl"
"""What the machine asked the web server for, one event a line."""

START = "start.ipxe"

FirmwareKind = Literal["uefi", "bios"]


class NetStart(enum.StrEnum):
    """What the machine loads first, and from where."""

    IPXE_HTTP = "ipxe-http"
    IPXE_TFTP = "ipxe-tftp"
    PXELINUX = "pxelinux"
    GRUB = "grub"

    def program(self, firmware: FirmwareKind, arch: Arch) -> str:
        """The file of the set that it takes, beside kernel, initramfs and image."""
        match self:
            case NetStart.PXELINUX:
                return "pxelinux.0"
            case NetStart.GRUB if arch is Arch.ARM64:
                return GrubNet.ARM64
            case NetStart.GRUB:
                return GrubNet.BIOS if firmware == "bios" else GrubNet.EFI
            case _:
                return SCRIPT


class NetbootTest(MachineTest, kind="netboots", table="tests"):
    """A test with ``netboots``."""

    netboots: FilesRef
    """The stage whose set is served: a pxeboot."""
    start: Annotated[NetStart, Word()] = NetStart.IPXE_HTTP
    """What the machine loads first: iPXE's script over HTTP or TFTP, PXELINUX (BIOS), or GRUB (over TFTP)."""
    firmware: FirmwareKind = "uefi"
    """What starts it: `uefi` or `bios`; QEMU's network card brings iPXE for both."""
    method: Annotated[Method, Word()] | None = None
    """How the image gets there, for iPXE; default: the set's own."""

    @model_validator(mode="after")
    def _fits(self) -> NetbootTest:
        if self.start is NetStart.PXELINUX and self.firmware == "uefi":
            facts = {"hint": 'set firmware = "bios", or start = "grub"'}
            raise PydanticCustomError("start", "`start`: PXELINUX is for BIOS machines", facts)
        if self.method and not self.start.startswith("ipxe"):
            facts = {"start": str(self.start), "hint": "leave it out: menus have their first line for the default"}
            raise PydanticCustomError("method", "`method`: {start} is not told one", facts)
        return self

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node. Raises ``INVALID_VALUE`` where the network card of such machines brings no iPXE."""
        node = super().node(node_id, scope, **context)
        if node.context["arch"] == Arch.ARM64 and self.start is not NetStart.GRUB:
            place = scope.project.entries[self.table][node_id.rpartition(":")[2]].place(("start",))
            message = f"start: arm64 machines do not start by {self.start}: their network card brings no iPXE"
            raise StagewrightError(Reason.INVALID_VALUE, message, place=place, hint='set start = "grub"')
        return node

    def build(self, work: Work) -> Built:
        """Serve the set, boot the machine; the report is kept when the test passes, and shown when it does not."""
        files = work.artifact("netboots")
        arch = Arch(work.context["arch"])
        program = self.start.program(self.firmware, arch)
        if not (files / program).exists():
            hint = f"see `network_loaders` of the payload and `loaders` of {self.netboots!r}"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"{self.netboots!r} has no {program}", hint=hint)
        acceleration = self.acceleration(work)
        folder, served = work.new_folder(EVIDENCE), work.new_folder("served")
        _link_all(files, served)
        requests: list[Event] = []
        try:
            with FileServer(served, listener=requests.append) as server:
                (served / START).write_text(self._script(server.url(GATEWAY)))
                machine = self.machine(served, server.port, arch)
                report = boot(machine, self.script(), folder, acceleration, work.phase)
        finally:
            (folder / REQUESTS).write_text("".join(f"{event.to_json()}\n" for event in requests))
        built = self.kept(report, folder, work)
        (folder / REQUESTS).rename(built.tree / REQUESTS)
        return built

    def machine(self, served: Path, port: int, arch: Arch = Arch.AMD64) -> MachineSpec:
        """A machine that starts from a folder, which a web server on this computer's loopback has at a port."""
        options: Mapping[NetStart, tuple[str, ...]] = {
            NetStart.IPXE_HTTP: (f"bootfile=http://{GATEWAY}:{port}/{START}",),
            NetStart.IPXE_TFTP: (f"tftp={served}", f"bootfile={START}"),
        }
        program = self.start.program(self.firmware, arch)
        # GRUB on UEFI uses the firmware's own driver, which the ROM of the card would take the place of
        bare = self.start is NetStart.GRUB and self.firmware == "uefi"
        return MachineSpec(
            firmware=self.firmware,
            architecture=architecture_of(arch),
            memory=self.memory,
            cpus=self.cpus,
            network="user",
            user_network=options.get(self.start, (f"tftp={served}", f"bootfile={program}")),
            extra=("-global", "virtio-net-pci.romfile=") if bare else (),
        )

    def _script(self, url: str) -> str:
        method = [f"set method {self.method}"] if self.method else []
        return "\n".join(["#!ipxe", *method, f"set base-url {url}", f"chain --replace {SCRIPT}", ""])


def _link_all(source: Path, target: Path) -> None:
    """The files of a set in a folder where more can be put."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
