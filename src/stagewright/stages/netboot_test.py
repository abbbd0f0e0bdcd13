"""netboots: start a machine from the network and see that it does what it should (R71).

Takes a stage that yields a set for network boot, and serves it to the one machine: over HTTP from this process, over
TFTP from QEMU. Yields what the machine said, and what it asked the server for. A test that failed fails the build.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, Listener
from stagewright.graph.node import Node
from stagewright.netboot.hints import GATEWAY
from stagewright.netboot.methods import IMAGE, Method
from stagewright.netboot.programs import GrubNet
from stagewright.netboot.serve import FileServer
from stagewright.netboot.storage import NbdServer, NfsServer
from stagewright.netboot.writer import SCRIPT, methods_of
from stagewright.project.fields import FilesRef, Word
from stagewright.stages.base import Built, Scope, Work
from stagewright.stages.guest_test import EVIDENCE, MachineTest
from stagewright.stages.tools import NBD_SERVER, NFS_SERVER, QEMU
from stagewright.vm import accel
from stagewright.vm.boot import boot
from stagewright.vm.spec import MachineSpec

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

    def program(self, firmware: FirmwareKind) -> str:
        """The file of the set that it takes, beside kernel, initramfs and image."""
        match self:
            case NetStart.PXELINUX:
                return "pxelinux.0"
            case NetStart.GRUB:
                return GrubNet.BIOS if firmware == "bios" else GrubNet.EFI
            case _:
                return SCRIPT


class NetbootTest(MachineTest, kind="netboots", table="tests"):
    """A test with ``netboots``."""

    needs = (QEMU,)
    uses = (NFS_SERVER, NBD_SERVER)
    traces = ("qemu-system-x86_64",)

    netboots: FilesRef
    """The stage whose set is served: a pxeboot."""
    start: Annotated[NetStart, Word()] = NetStart.IPXE_HTTP
    """What the machine loads first: iPXE's script over HTTP or TFTP, PXELINUX (BIOS), or GRUB (over TFTP)."""
    firmware: FirmwareKind = "uefi"
    """What starts it: `uefi` or `bios`; QEMU's network card brings iPXE for both."""
    method: Annotated[Method, Word()] | None = None
    """How the image gets there, for iPXE; default: the set's own. `nfs` and `nbd` start a server of their own."""

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
        """The node, with the server that its method takes."""
        node = super().node(node_id, scope, **context)
        servers = {Method.NFS: NFS_SERVER.program, Method.NBD: NBD_SERVER.program}
        more = (servers[self.method],) if self.method in servers else ()
        return replace(node, tools=(*node.tools, *more))

    def build(self, work: Work) -> Built:
        """Serve the set, boot the machine; the report is kept when the test passes, and shown when it does not."""
        files = work.artifact("netboots")
        program = self.start.program(self.firmware)
        if not (files / program).exists():
            hint = f"see `network_loaders` of the payload and `loaders` of {self.netboots!r}"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"{self.netboots!r} has no {program}", hint=hint)
        if self.method and self.method not in (has := methods_of(files)):
            what = f"{self.netboots!r} has no method {self.method}, only {', '.join(has)}"
            hint = f"see `methods` of {self.netboots!r}, and `initramfs.modules` of its payload"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint=hint)
        work.phase("probe acceleration")
        acceleration = accel.probe(cache=work.store.cache("acceleration.json"))
        folder, served = work.new_folder(EVIDENCE), work.new_folder("served")
        _link_all(files, served)
        requests: list[Event] = []
        try:
            with FileServer(served, listener=requests.append) as server, contextlib.ExitStack() as others:
                addresses = {"base-url": server.url(GATEWAY), **self._serve(served, work, requests.append, others)}
                (served / START).write_text(self._script(addresses))
                machine = self.machine(served, server.port)
                report = boot(machine, self.script(), folder, acceleration, work.phase)
        finally:
            (folder / REQUESTS).write_text("".join(f"{event.to_json()}\n" for event in requests))
        built = self.kept(report, folder, work)
        (folder / REQUESTS).rename(built.tree / REQUESTS)
        return built

    def machine(self, served: Path, port: int) -> MachineSpec:
        """A machine that starts from a folder, which a web server on this computer's loopback has at a port."""
        options: Mapping[NetStart, tuple[str, ...]] = {
            NetStart.IPXE_HTTP: (f"bootfile=http://{GATEWAY}:{port}/{START}",),
            NetStart.IPXE_TFTP: (f"tftp={served}", f"bootfile={START}"),
        }
        program = self.start.program(self.firmware)
        # GRUB on UEFI uses the firmware's own driver, which the ROM of the card would take the place of
        bare = self.start is NetStart.GRUB and self.firmware == "uefi"
        return MachineSpec(
            firmware=self.firmware,
            memory=self.memory,
            cpus=self.cpus,
            network="user",
            user_network=options.get(self.start, (f"tftp={served}", f"bootfile={program}")),
            extra=("-global", "virtio-net-pci.romfile=") if bare else (),
        )

    def _serve(self, served: Path, work: Work, listener: Listener, others: contextlib.ExitStack) -> Mapping[str, str]:
        """Start what the method takes besides a web server; returns where it is, by iPXE's variable."""
        if self.method is Method.NFS:
            nfs = others.enter_context(NfsServer(served, work.new_folder("nfs"), listener))
            return {self.method.address: nfs.url(GATEWAY)}
        if self.method is Method.NBD:
            nbd = others.enter_context(NbdServer(served / IMAGE, listener))
            return {self.method.address: nbd.url(GATEWAY)}
        return {}

    def _script(self, addresses: Mapping[str, str]) -> str:
        method = [f"set method {self.method}"] if self.method else []
        known = [f"set {name} {address}" for name, address in addresses.items()]
        return "\n".join(["#!ipxe", *method, *known, f"chain --replace {SCRIPT}", ""])


def _link_all(source: Path, target: Path) -> None:
    """The files of a set in a folder where more can be put."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
