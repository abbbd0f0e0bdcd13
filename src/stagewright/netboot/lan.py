"""A network for one machine that starts from it, as machines of metal find it: a DHCP server and a boot server.

::

    machine -- tap --+-- lan (bridge): the boot server, with HTTP by others, TFTP and proxy DHCP by dnsmasq
    dhcp -- cable ---+
     the DHCP server, another dnsmasq: addresses, and every name leads to the boot server

It is made in the network namespace of the process, which must be one of its own: interfaces and servers go with it.
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
from stagewright.netboot.dnsmasq import Dnsmasq
from stagewright.netboot.hints import GATEWAY
from stagewright.run import run

SERVER = GATEWAY
"""The boot server's address: that of this computer on QEMU's user network too, so that scripts fit both."""

_DHCP, _MACHINE, _PREFIX = "10.0.2.3", "10.0.2.15", 24
_SOME_ADDRESS = "192.0.2.1"  # of RFC 5737; nothing listens there
_ARP_IGNORE = Path("/proc/sys/net/ipv4/conf/all/arp_ignore")


def loopback() -> None:
    """Switch the loopback interface on, which is off in a new network namespace.

    It gets an address besides its own: where a computer has none, getaddrinfo(3) finds not even 127.0.0.1 for programs
    that ask with AI_ADDRCONFIG, as ganesha.nfsd does.
    """
    _ip("link set lo up")
    _ip(f"address add {_SOME_ADDRESS}/32 dev lo")


class Lan:
    """The network while its context lasts. ``tap`` is the interface that the machine is to be plugged into.

    ``boot_server`` is what the boot server's dnsmasq is told, if it is to do anything; ``dhcp`` are more lines for the
    DHCP server. ``host``, a name or an address, is the boot server too. Raises ``HOST_FEATURE`` where the kernel has no
    bridges or the process no rights.
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
            self._lay()
        except StagewrightError as error:
            hint = "the kernel needs CONFIG_BRIDGE, CONFIG_VETH and CONFIG_TUN; in a container, run it privileged"
            what = "no network can be made for the machine"
            raise StagewrightError(Reason.HOST_FEATURE, what, detail=str(error), hint=hint) from error
        with contextlib.ExitStack() as stack:
            for server in self._servers:
                stack.enter_context(server)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _lay(self) -> None:
        _ip("link add lan type bridge")
        _ip(f"tuntap add {self._tap} mode tap")
        _ip("link add dhcp type veth peer name cable")
        for port in (self._tap, "cable"):
            _ip(f"link set {port} master lan up")
        _ip(f"address add {SERVER}/{_PREFIX} dev lan")
        _ip(f"address add {_DHCP}/{_PREFIX} dev dhcp noprefixroute")
        with contextlib.suppress(ValueError):  # a name: the DHCP server answers for all of them
            if ipaddress.ip_address(self._host) != ipaddress.ip_address(SERVER):
                _ip(f"address add {self._host} dev lan")
        _ARP_IGNORE.write_text("1", encoding="utf-8")  # each interface answers for its own address only
        for interface in ("lan", "dhcp"):
            _ip(f"link set {interface} up")


def _ip(words: str) -> None:
    run(["ip", *words.split()])
