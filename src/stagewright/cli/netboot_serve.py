"""``stagewright netboot serve``."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from stagewright.cli.common import session_or_none
from stagewright.cli.complete import complete_sets
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, Listeners
from stagewright.netboot.boot_commands import ANY, boot_commands, outward_address, qemu_arm64_command
from stagewright.netboot.dnsmasq import Dnsmasq, configuration
from stagewright.netboot.programs import GrubNet
from stagewright.netboot.serve import FileServer
from stagewright.netboot.writer import SCRIPT, memory_of, methods_of
from stagewright.ui.jsonlines import JsonLines
from stagewright.ui.plain import Plain
from stagewright.vm import accel
from stagewright.vm.machine_spec import MachineSpec

_LOOK = 0.2  # seconds between two looks if the server is to end


@click.command(name="serve")
@click.argument("place", metavar="FOLDER|STAGE", shell_complete=complete_sets)
@click.option("--address", default=ANY[0], show_default=True, help="The address of this machine to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port; 0 is any free one."
)
@click.option("--tftp", is_flag=True, help="Also serve the folder over TFTP with dnsmasq (needs root).")
@click.option(
    "--proxy-dhcp",
    is_flag=True,
    help="Also serve TFTP, and answer machines as a proxy DHCP server on the network of --address (needs root).",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines; the first one has the address.")
@click.pass_context
def command(
    ctx: click.Context, place: str, address: str, port: int, tftp: bool, proxy_dhcp: bool, as_json: bool
) -> int:
    """Serve a set for network boot until Ctrl-C.

    The set in FOLDER, or that of a STAGE of the project, is served over HTTP. The command prints what to type on
    clients.
    Every machine that can reach the address can read the folder, but nothing outside of
    it. Range requests are supported, so clients can stream images.

    \b
      stagewright netboot serve pxe
      stagewright netboot serve out/pxe --address 192.168.1.5 --proxy-dhcp
    """
    folder = _folder(ctx, place)
    if proxy_dhcp and (address in ANY or address.startswith("127.")):
        what = "--proxy-dhcp: needs the address of this machine on the network to serve"
        raise StagewrightError(Reason.USAGE, what, hint=f"add --address {outward_address(ANY[0])}")
    stop, lock = _Stop(), threading.Lock()
    listeners = Listeners(JsonLines(sys.stdout) if as_json else Plain(sys.stdout))

    def emit(event: Event) -> None:
        with lock:  # each client has a thread
            listeners(event)

    needs = memory_of(folder)
    least = f"least memory: {', '.join(f'{method} {need} MiB' for method, need in needs.items())}" if needs else ""
    with FileServer(folder, address, port, emit, note=least) as server, contextlib.ExitStack() as others:
        host = outward_address(address)
        url = server.url(host)
        if tftp or proxy_dhcp:
            text = configuration(server.folder, host, url, proxy_dhcp=proxy_dhcp)
            others.enter_context(Dnsmasq(text, emit))
        seen = server.folder if tftp else None
        found = boot_commands(url, address, server.port, _acceleration(), tftp=seen, methods=methods_of(server.folder))
        if (server.folder / GrubNet.ARM64).is_file():
            found = {name: line for name, line in found.items() if name.startswith("ipxe")} | _on_arm64(server.folder)
        with contextlib.suppress(BrokenPipeError):  # machines need the server, whether it has a reader or not
            if as_json:
                facts = {"url": url, "folder": str(server.folder), "memory": needs}
                print(json.dumps({"event": "Serving", **facts, **found}), flush=True)
            else:
                _introduce(server.folder, url, found, least)
        stop.wait()
    return 0


def _folder(ctx: click.Context, place: str) -> Path:
    """Return the folder of a set that a word names: a path, or a stage of the project. Raises: MISSING_FILE."""
    folder = Path(place)
    if (folder / SCRIPT).is_file():
        return folder
    session = None if folder.exists() or "/" in place else session_or_none(ctx, reads_only=True)
    if session and (session.result(place) / SCRIPT).is_file():
        return session.result(place)
    what = f"{place}: not a set for network boot ({SCRIPT} not found)"
    raise StagewrightError(Reason.MISSING_FILE, what, hint="build a stage of kind pxeboot, which makes one in out/")


def _acceleration() -> Sequence[str]:
    """Return QEMU's arguments for acceleration; those of emulation if QEMU is not installed."""
    try:
        return accel.probe().arguments
    except StagewrightError:
        return accel.tcg("").arguments


def _on_arm64(folder: Path) -> dict[str, str]:
    """Return the command line for an arm64 machine, if its firmware is installed."""
    try:
        firmware = MachineSpec(architecture="aarch64").find_firmware()
    except StagewrightError:
        return {}
    return {"qemu": qemu_arm64_command(accel.of("aarch64").arguments, firmware.code, folder)} if firmware else {}


def _introduce(folder: Path, url: str, found: Mapping[str, str], note: str) -> None:
    print(f"serving {folder} at {url}/ until Ctrl-C")
    if note:
        print(note)
    print(f"\nat the prompt of iPXE (Ctrl-B while it starts):\n  {found['ipxe']}")
    if "ipxe_stream" in found:
        print(f"\nthe same with less memory; the image is read while the system runs:\n  {found['ipxe_stream']}")
    if "qemu" in found:
        print(f"\na virtual machine on this computer (Ctrl-A X ends it):\n  {found['qemu']}")
    if "qemu_tftp" in found:
        print(f"\nthe same by TFTP:\n  {found['qemu_tftp']}")
    print(flush=True)


class _Stop:
    """Waits for Ctrl-C or SIGTERM, the ordinary ends of a server.

    It looks again and again: a signal just before a wait does not interrupt it. A handler must not take the lock that
    the wait of a threading.Event has.
    """

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked = True

    def wait(self) -> None:
        """Return when a signal has come, at most 0.2 s later."""
        while not self._asked:
            time.sleep(_LOOK)
