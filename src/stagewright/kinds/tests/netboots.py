"""netboots: start a machine from the network and check what it does.

Input: a stage that yields a set for network boot. The test serves the set to one machine over HTTP. QEMU provides DHCP
and TFTP. If machines need different answers, dnsmasq provides them on a separate network. Everything is in a network
namespace without connection to other networks. The result is console log, screenshot, report, and the requests of the
machine. If the test fails, the build fails.
"""

from __future__ import annotations

import contextlib
import enum
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, Listener
from stagewright.graph.node import Node
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.guest import MachineTest
from stagewright.kinds.common.tools import DNSMASQ, IPROUTE, NBD_SERVER, NFS_SERVER
from stagewright.kinds.common.work import Work
from stagewright.kinds.media.pxeboot import NetSetFacts
from stagewright.media.payload import IMAGE
from stagewright.netboot.boot_commands import ANY, GATEWAY
from stagewright.netboot.dnsmasq import configuration
from stagewright.netboot.image_servers import NbdServer, NfsServer
from stagewright.netboot.lan import SERVER, Lan, loopback
from stagewright.netboot.methods import Method
from stagewright.netboot.programs import GrubNet
from stagewright.netboot.serve import FileServer
from stagewright.netboot.service import LOOPBACK
from stagewright.netboot.writer import SCRIPT, SINGLE, UNIFIED, choose_entry, http_boot, methods_of
from stagewright.project.fields import ByValue, FilePath, NetworkSetRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.store.links import link
from stagewright.testing.perform import Hold
from stagewright.testing.results import Report
from stagewright.trees import files_below
from stagewright.vm.machine_spec import TAP, FirmwareKind, MachineSpec, architecture_of

REQUESTS = "requests.jsonl"
"""Requests of the machine and answers of the servers, one event per line."""

START = "start.ipxe"

NO_ROM = ("-global", "virtio-net-pci.romfile=")
"""Arguments of QEMU that remove iPXE from the network card."""

NO_PXE = tuple(
    word for ip in ("IPv4", "IPv6") for word in ("-fw_cfg", f"name=opt/org.tianocore/{ip}PXESupport,string=n")
)
"""Arguments of QEMU that disable PXE in OVMF (PxeBcPcdProducerLib). The firmware would try it before HTTP Boot, and
wait a minute for a boot server that does not exist."""

Platform = Literal["uefi", "bios"]


class NetStart(enum.StrEnum):
    """The program that the machine loads first, and its server."""

    IPXE_HTTP = "ipxe-http"
    IPXE_TFTP = "ipxe-tftp"
    PXELINUX = "pxelinux"
    GRUB = "grub"
    UNDIONLY = "undionly"
    IPXE_EFI = "ipxe-efi"
    SNPONLY = "snponly"
    HTTP_BOOT = "http-boot"

    def program(self, firmware: FirmwareKind, arch: Arch, method: Method | None) -> str:
        """Return the program of the set that the machine loads, apart from kernel, initramfs and image."""
        match self:
            case NetStart.PXELINUX:
                return "pxelinux.0"
            case NetStart.GRUB if arch is Arch.ARM64:
                return GrubNet.ARM64
            case NetStart.GRUB:
                return GrubNet.BIOS if firmware == "bios" else GrubNet.EFI
            case NetStart.UNDIONLY:
                return "undionly.kpxe"
            case NetStart.IPXE_EFI:
                return "ipxe.efi"
            case NetStart.SNPONLY:
                return "snponly.efi"
            case NetStart.HTTP_BOOT:
                return SINGLE if method is Method.INITRD else UNIFIED
            case _:
                return SCRIPT

    @property
    def firmware(self) -> Platform | None:
        """The firmware that it needs; None if it works with both."""
        bios, uefi = (NetStart.PXELINUX, NetStart.UNDIONLY), (NetStart.IPXE_EFI, NetStart.SNPONLY, NetStart.HTTP_BOOT)
        return "bios" if self in bios else "uefi" if self in uefi else None

    @property
    def has_menu(self) -> bool:
        """True if it reads a menu of the set, with the addresses that the set was made for."""
        return self in (NetStart.PXELINUX, NetStart.GRUB)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods for the image that a test can choose."""
        if self is NetStart.HTTP_BOOT:
            return Method.HTTP, Method.INITRD
        if self.on_lan:
            return ()
        return (Method.INITRD, Method.HTTP, Method.STREAM) if self.has_menu else tuple(Method)

    @property
    def on_lan(self) -> bool:
        """True if it needs a DHCP server that distinguishes machines. QEMU's DHCP server does not."""
        return self in (NetStart.IPXE_EFI, NetStart.SNPONLY, NetStart.HTTP_BOOT)


class NetbootTest(MachineTest, kind="netboots", table="tests"):
    """A test with ``netboots``."""

    required_tools = (IPROUTE,)
    optional_tools = (*MachineTest.optional_tools, DNSMASQ, NFS_SERVER, NBD_SERVER)
    own_network = True
    private_ids = False

    netboots: NetworkSetRef
    """The stage with the set to serve: a pxeboot."""
    start: Annotated[NetStart, ByValue()] = NetStart.IPXE_HTTP
    """The program that the machine loads first. `ipxe-http` and `ipxe-tftp`: the script, with iPXE of QEMU's network
    card. `pxelinux`, `grub`, and the iPXE programs of the set `undionly`, `ipxe-efi` and `snponly`: over TFTP.
    `http-boot`: `boot.efi`, with the HTTP Boot of the firmware."""
    firmware: FirmwareKind = "uefi"
    """The firmware: `uefi` or `bios`; QEMU's network card has iPXE for both. `uefi-secure` starts only signed programs:
    `boot.efi` and `single.efi`."""
    variables: FilePath | None = Field(default=None, exclude_if=lambda path: path is None)
    """A file with UEFI variables, for example a copy of OVMF's with your keys; default: the file of the firmware."""
    refused: bool = Field(default=False, exclude_if=lambda refused: not refused)
    """Check that the firmware refuses to start the program, as Secure Boot does without a valid signature."""
    method: Annotated[Method, ByValue()] | None = None
    """The method for the image; default: the first of the set. The test starts a server for `nfs` and `nbd`, which need
    iPXE. With `http-boot`, `initrd` means `single.efi`. With `pxelinux` and `grub`, it is the default of the menu."""

    @property
    def platform(self) -> Platform:
        """The firmware, with or without Secure Boot."""
        return "bios" if self.firmware == "bios" else "uefi"

    @model_validator(mode="after")
    def _fits(self) -> NetbootTest:
        if self.start.firmware not in (None, self.platform):
            facts = {"start": str(self.start), "fits": str(self.start.firmware)}
            facts["hint"] = f'set firmware = "{self.start.firmware}", or another start'
            raise PydanticCustomError("start", "`start`: {start} is for machines with {fits}", facts)
        if self.firmware == "uefi-secure" and self.start is not NetStart.HTTP_BOOT:
            facts = {"start": str(self.start), "hint": 'set start = "http-boot", or firmware = "uefi"'}
            raise PydanticCustomError("firmware", "`firmware`: with Secure Boot, {start} is refused", facts)
        if self.method and self.method not in self.start.methods:
            facts = {"start": str(self.start), "method": str(self.method)}
            facts["hint"] = f"set {' or '.join(self.start.methods)}" if self.start.methods else "remove it"
            raise PydanticCustomError("method", "`method`: {start} does not support {method}", facts)
        return self

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the address in the program uses HTTP, because the server of the test has no certificates."""
        yield from super().check(project)
        entry = project.entry(self.netboots)
        base_url = str(getattr(entry and entry.model, "base_url", None) or "")
        if self.start is NetStart.HTTP_BOOT and self.method is not Method.INITRD and base_url.startswith("https:"):
            problem = f"start: {UNIFIED} of {self.netboots!r} fetches the image over HTTPS, which tests do not support"
            hint = 'set method = "initrd" to test single.efi, or an http base_url'
            yield ("start",), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the servers that this test starts as tools.

        Raises: INVALID_VALUE if the network card of these machines has no iPXE.
        """
        node = super().node(node_id, scope)
        if self._arch(node) is Arch.ARM64 and self.start is not NetStart.GRUB:
            place = self._place(node, scope, "start")
            message = f"start: arm64 machines do not support {self.start}, because their network card has no iPXE"
            raise StagewrightError(Reason.INVALID_VALUE, message, place=place, hint='set start = "grub"')
        servers = {Method.NFS: NFS_SERVER.program, Method.NBD: NBD_SERVER.program}
        lan = [DNSMASQ.program] if self.on_lan else []
        return replace(node, tools=(*node.tools, *lan, *([servers[self.method]] if self.method in servers else [])))

    @property
    def on_lan(self) -> bool:
        """True if the machine is on a separate network, where it finds the host of the set's address."""
        return self.start.on_lan or (self.start.has_menu and self.method in (Method.HTTP, Method.STREAM))

    @property
    def has_network(self) -> bool:
        """True if ports of the machine can be reached: not on a separate network, where QEMU forwards none."""
        return not self.on_lan

    def run(self, work: Work[MachineContext], folder: Path, hold: Hold | None = None) -> Report:
        """Serve the set, boot the machine and perform the script."""
        files = work.artifact("netboots")
        arch = work.context.arch
        program = self.start.program(self.firmware, arch, self.method)
        if not (files / program).exists():
            hint = f"see `network_loaders` of the payload, and `loaders`, `uki`, `single_file` of {self.netboots!r}"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"{self.netboots!r}: {program} not found", hint=hint)
        if self.method and self.method not in (has := methods_of(files)):
            what = f"{self.netboots!r}: method {self.method} not found (methods: {', '.join(has)})"
            hint = f"see `methods` of {self.netboots!r}, and `initramfs.modules` of its payload"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint=hint)
        events: list[Event] = []
        base_url = work.facts("netboots", NetSetFacts).base_url
        try:
            with self.serving(files, work.new_folder("served"), base_url, arch, events.append) as machine:
                chosen = replace(machine, variables=self._variables(work))
                return self.boot_run(chosen, work, folder, hold).run()
        finally:
            (folder / REQUESTS).write_text("".join(f"{event.to_json()}\n" for event in events), encoding="utf-8")

    @contextlib.contextmanager
    def serving(
        self,
        files: Path,
        folder: Path,
        base_url: str,
        arch: Arch,
        listener: Listener,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[MachineSpec]:
        """Serve a set while the context lasts, and yield the machine. The process needs a separate network namespace.

        ``folder`` takes links to the files of the set, made for ``base_url``. ``variables`` are further ones of iPXE.
        """
        program = self.start.program(self.firmware, arch, self.method)
        place = _SetAddress.of(base_url) if self.on_lan else _SetAddress()
        site = folder / "site"
        served = site / place.path
        _link_all(files, served)
        if self.method and self.start.has_menu:
            choose_entry(served, self.method)
        loopback()
        with contextlib.ExitStack() as running:
            address = ANY[0] if self.on_lan else LOOPBACK
            server = running.enter_context(FileServer(site, address, place.port, listener))
            url = place.url(server.port)
            if self.on_lan:
                running.enter_context(self._lan(program, served, url, place.host, listener))
            known = {**variables, "base-url": url, **self._serve(served, folder / "nfs", listener, running)}
            (served / START).write_text(self._script(known), encoding="utf-8")
            yield self.machine(served, server.port, arch)

    def _variables(self, work: Work[MachineContext]) -> Path | None:
        return work.files[self.variables] if self.variables else None

    def machine(self, served: Path, port: int, arch: Arch = Arch.AMD64) -> MachineSpec:
        """Return a machine that starts from a folder, which is served over HTTP on a port of the loopback."""
        by_http = (f"bootfile=http://{GATEWAY}:{port}/{START}",)
        options: Mapping[NetStart, tuple[str, ...]] = {
            NetStart.IPXE_HTTP: by_http,
            NetStart.IPXE_TFTP: (f"tftp={served}", f"bootfile={START}"),
            NetStart.UNDIONLY: (f"tftp={served}", *by_http),
        }
        program = self.start.program(self.firmware, arch, self.method)
        # These use the driver of the firmware, which the ROM of the card would replace.
        bare = self.start.on_lan or (self.start is NetStart.GRUB and self.firmware == "uefi")
        return MachineSpec(
            firmware=self.firmware,
            architecture=architecture_of(arch),
            memory=self.memory,
            cpus=self.cpus,
            network="tap" if self.on_lan else "user",
            user_network=options.get(self.start, (f"tftp={served}", f"bootfile={program}")),
            extra=(*(NO_ROM if bare else ()), *(NO_PXE if self.start is NetStart.HTTP_BOOT else ())),
        )

    def _serve(self, served: Path, work: Path, listener: Listener, running: contextlib.ExitStack) -> Mapping[str, str]:
        """Start the server that the method needs, other than HTTP. Return its address, by iPXE's variable."""
        if self.method is Method.NFS:
            work.mkdir()
            nfs = running.enter_context(NfsServer(served, work, listener))
            return {self.method.address: nfs.url(GATEWAY)}
        if self.method is Method.NBD:
            nbd = running.enter_context(NbdServer(served / IMAGE, listener))
            return {self.method.address: nbd.url(GATEWAY)}
        return {}

    def _script(self, addresses: Mapping[str, str]) -> str:
        """Return the script for iPXE. For ``undionly``, the iPXE of the card loads the iPXE of the set first."""
        own = [f"iseq ${{netX/chip}} undionly || chain tftp://{GATEWAY}/undionly.kpxe"]
        first = own if self.start is NetStart.UNDIONLY else []
        method = [f"set method {self.method}"] if self.method else []
        known = [f"set {name} {address}" for name, address in addresses.items()]
        return "\n".join(["#!ipxe", *first, *method, *known, f"chain --replace {SCRIPT}", ""])

    def _lan(self, program: str, served: Path, url: str, host: str, listener: Listener) -> Lan:
        """Return a network with a boot server by the set's dnsmasq.conf, or with HTTP Boot by the DHCP server."""
        if self.start is NetStart.HTTP_BOOT:
            return Lan(TAP, listener, dhcp=http_boot(f"{url}/{program}"), host=host)
        if self.start.has_menu:  # the DHCP server names the program, also to the card's iPXE
            text = configuration(served, SERVER, url, proxy_dhcp=False)
            return Lan(TAP, listener, boot_server=text, dhcp=[f"dhcp-boot={program},,{SERVER}"], host=host)
        text = configuration(served, SERVER, url, proxy_dhcp=True, programs=[program])
        return Lan(TAP, listener, boot_server=text, host=host)


@dataclass(frozen=True)
class _SetAddress:
    """The address of the set for the machine: host, port (0: any free port), path without slashes at its ends."""

    host: str = GATEWAY
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, base_url: str) -> _SetAddress:
        """Return the address for which the set was made."""
        parts = urllib.parse.urlsplit(base_url or f"http://{SERVER}")
        return cls(parts.hostname or SERVER, parts.port or 80, urllib.parse.unquote(parts.path).strip("/"))

    def url(self, port: int) -> str:
        """Return the URL of the set on a port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        number = "" if port == 80 else f":{port}"
        return f"http://{host}{number}/{urllib.parse.quote(self.path)}".rstrip("/")


def _link_all(source: Path, target: Path) -> None:
    """Link the files of a set into a folder, to which other files can be added."""
    for path in (source / name for name in sorted(files_below(source))):
        if path.is_file():
            place = target / path.relative_to(source)
            link(path, place)
