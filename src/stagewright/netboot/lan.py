"""A network for one virtual machine that boots from it, with a DHCP server and a boot server as on a real network.

::

    machine -- tap --+-- lan (bridge): the boot server, with TFTP and proxy DHCP by dnsmasq; the caller adds HTTP
    dhcp -- cable ---+
     the DHCP server, another dnsmasq: addresses, and every name resolves to the boot server

The interfaces are created in the network namespace of the process, which must be a separate one: they end with it.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener
from stagewright.netboot.boot_commands import GATEWAY
from stagewright.netboot.dnsmasq import Dnsmasq
from stagewright.run import run

SERVER = GATEWAY
"""The boot server's address, also this computer's on QEMU's user network, so that scripts work on both."""

_DHCP, _MACHINE, _PREFIX = "10.0.2.3", "10.0.2.15", 24
_SOME_ADDRESS = "192.0.2.1"  # RFC 5737; no machine has it
_ARP_IGNORE = Path("/proc/sys/net/ipv4/conf/all/arp_ignore")


def loopback() -> None:
    """Enable the loopback interface, which is down in a new network namespace.

    It gets a second address: without one, getaddrinfo(3) does not resolve 127.0.0.1 for programs that use
    AI_ADDRCONFIG, such as ganesha.nfsd.
    """
    _ip("link set lo up")
    _ip(f"address add {_SOME_ADDRESS}/32 dev lo")


class Lan:
    """The network, while its context lasts. ``tap`` is the interface for the machine.

    ``boot_server`` is the configuration of the boot server's dnsmasq, "" for none. ``dhcp`` are more lines for the DHCP
    server. ``host`` is another name or address of the boot server. Entering the context raises ``HOST_FEATURE`` if the
    kernel has no bridges or the process lacks the rights.
    """

    def __init__(
        self, tap: str, listener: Listener, *, boot_server: str = "", dhcp: Iterable[str] = (), host: str = SERVER
    ) -> None:
        self._tap, self._host = tap, host
        own = [f"interface=dhcp\nbind-interfaces\nno-resolv\nno-hosts\naddress=/#/{SERVER}"]
        own += [f"dhcp-range={_MACHINE},{_MACHINE},1h", "log-dhcp", *dhcp, ""]
        texts = ["\n".join(own), *([boot_server] if boot_server else [])]
        self._servers = [Dnsmasq(text, listener) for text in texts]
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._create()
        except StagewrightError as error:
            hint = "the kernel needs CONFIG_BRIDGE, CONFIG_VETH and CONFIG_TUN; in a container, run it privileged"
            message = "cannot create a network for the machine"
            raise StagewrightError(Reason.HOST_FEATURE, message, detail=str(error), hint=hint) from error
        with contextlib.ExitStack() as stack:
            for server in self._servers:
                stack.enter_context(server)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _create(self) -> None:
        _ip("link add lan type bridge")
        _ip(f"tuntap add {self._tap} mode tap")
        _ip("link add dhcp type veth peer name cable")
        for port in (self._tap, "cable"):
            _ip(f"link set {port} master lan up")
        _ip(f"address add {SERVER}/{_PREFIX} dev lan")
        _ip(f"address add {_DHCP}/{_PREFIX} dev dhcp noprefixroute")
        with contextlib.suppress(ValueError):  # a name: the DHCP server resolves every name
            if ipaddress.ip_address(self._host) != ipaddress.ip_address(SERVER):
                _ip(f"address add {self._host} dev lan")
        _ARP_IGNORE.write_text("1", encoding="utf-8")  # each interface only answers for its address
        for interface in ("lan", "dhcp"):
            _ip(f"link set {interface} up")


def _ip(words: str) -> None:
    run(["ip", *words.split()])
