"""The network of a fetch step: a new network namespace, with slirp4netns(1) as the only way out.

slirp4netns is an unprivileged program that makes the connections of the namespace as its own. Services of this machine,
its abstract sockets (unix(7)) and its interfaces are out of reach. The namespace itself has the addresses of this
machine, and those of metadata services of clouds: connections to them stay in it, where no program listens. A program
can name the device and so avoid the routes; a filter drops these packets (:mod:`stagewright.root.packet_filter`). A
project can name services of this machine that a fetch step needs; this process listens there and passes the connections
on.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import socket
import socketserver
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple, TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.root import packet_filter
from stagewright.run import Process, spawn

T = TypeVar("T")

RESOLV_CONF = Path("/etc/resolv.conf")

NETWORK = "10.203.2.0/24"
RESOLVER = "10.203.2.3"
"""The addresses that slirp4netns gives the namespace, and its resolver, which asks that of this machine."""

METADATA = tuple(map(IPv4Network, ("169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192")))
"""Where machines in clouds find their credentials: link-local addresses (RFC 3927), and those of some providers."""

UNREACHABLE = (*map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255")), *METADATA)
"""Addresses that lead to services of this machine, also by multicast, or to metadata."""

_LOOK = 1.0
"""Seconds between two looks at the addresses of this machine."""

_NEW_NETWORK = 0x40000000
_SET_FLAGS, _SET_ADDRESS, _SET_MASK, _LIST_ADDRESSES = 0x8914, 0x8916, 0x891C, 0x8912
_UP = 0x1 | 0x8 | 0x40
_REQUEST = 40
"""Numbers of unshare(2) and netdevice(7), and the size of its struct ifreq (bytes)."""

_c_library = ctypes.CDLL(None, use_errno=True)


class Service(NamedTuple):
    """A TCP service of this machine: an IP address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @classmethod
    def of(cls, text: str) -> Service:
        """Return the service of ``ADDRESS:PORT``. An IPv6 address is in brackets."""
        address, _, port = text.rpartition(":")
        return cls(address.strip("[]"), int(port))


class FetchNetwork(NamedTuple):
    """A network namespace, as a path for nsenter(1), and the descriptor of a resolv.conf(5) that works in it."""

    namespace: str
    resolv_conf: int


@contextlib.contextmanager
def fetch_network(services: Sequence[Service] = ()) -> Iterator[FetchNetwork]:
    """Make the network of one fetch step; ``services`` of this machine can be reached from it.

    Raises: HOST_FEATURE if the kernel or the rights of this process do not permit it, MISSING_TOOL without slirp4netns,
    INVALID_VALUE if one of the services cannot be passed on.
    """
    with contextlib.ExitStack() as ends:
        namespace, listeners = _in_thread(lambda: _make(list(dict.fromkeys(services))))
        ends.callback(os.close, namespace)
        for listener, _ in listeners:
            ends.enter_context(listener)
        path = f"/proc/{os.getpid()}/fd/{namespace}"
        ends.enter_context(_filtered(ends.enter_context(_way_out(path))))
        for listener, service in listeners:
            ends.enter_context(_forwarding(listener, service))
        with tempfile.TemporaryFile() as resolv_conf:
            resolv_conf.write(_resolv_conf().encode())
            resolv_conf.seek(0)
            yield FetchNetwork(path, resolv_conf.fileno())


def _in_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread, which may change its namespaces, and return its result."""
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:  # noqa: BLE001  the caller raises it
            answer.set_exception(error)

    threading.Thread(target=call, name="new network", daemon=True).start()
    return answer.result()


def _make(services: Sequence[Service]) -> tuple[int, list[tuple[socket.socket, Service]]]:
    """Move this thread to a new network namespace. Return its descriptor, and a listening socket for each service."""
    own = own_addresses()
    try:
        if _c_library.unshare(_NEW_NETWORK):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP))
            for number, network in enumerate([*METADATA, *map(IPv4Network, own)]):
                for request, value in (
                    (_SET_ADDRESS, network[min(1, network.num_addresses - 1)]),
                    (_SET_MASK, network.netmask),
                ):
                    name, data = f"lo:{number}".encode(), value.packed
                    fcntl.ioctl(control, request, struct.pack("16sHH4s16x", name, socket.AF_INET, 0, data))
    except OSError as error:
        raise _unusable("be made", error) from error
    with contextlib.ExitStack() as undo:
        listeners = []
        for service in services:
            if listener := _listener(service):
                listeners.append((undo.enter_context(listener), service))
        namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        undo.pop_all()
    return namespace, listeners


def _unusable(what: str, error: OSError) -> StagewrightError:
    message = f"network of the fetch step: cannot {what} ({error.strerror})"
    return StagewrightError(Reason.HOST_FEATURE, message, hint="stagewright doctor shows what is missing")


def own_addresses() -> list[str]:
    """Return the IPv4 addresses of this machine except 127.0.0.0/8, see netdevice(7)."""
    buffer = array.array("B", bytes(_REQUEST * 1024))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _LIST_ADDRESSES, struct.pack("iP", len(buffer), buffer.buffer_info()[0]))
    length: int = struct.unpack("iP", answer)[0]
    found = [socket.inet_ntoa(buffer[start + 20 : start + 24].tobytes()) for start in range(0, length, _REQUEST)]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def _listener(service: Service) -> socket.socket | None:
    """Return a socket at the address of a service; None if the address is that of another machine."""
    family = socket.AF_INET6 if ":" in service.address else socket.AF_INET
    try:
        return socket.create_server(service, family=family)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(error, socket.gaierror):
            return None
        what = f"{service}: the fetch step cannot use this service of this machine ({error.strerror})"
        hint = "correct the address and port in [fetch] allow; each service can be listed once"
        raise StagewrightError(Reason.INVALID_VALUE, what, hint=hint) from error


@contextlib.contextmanager
def _way_out(namespace: str) -> Iterator[Process]:
    """Run slirp4netns for a namespace. It ends with this process in any case."""
    words = ["setpriv", "--pdeathsig", "KILL", "--", "slirp4netns", "--configure", "--mtu=65520", f"--cidr={NETWORK}"]
    words += ["--disable-host-loopback", "--enable-sandbox", "--enable-seccomp", "--netns-type=path"]
    if shutil.which("slirp4netns") is None:
        hint = "apt install slirp4netns, or emerge app-containers/slirp4netns"
        raise StagewrightError(Reason.MISSING_TOOL, "slirp4netns is not installed", hint=hint)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as ready, tempfile.TemporaryFile() as said, contextlib.ExitStack() as ends:
        try:
            command = [*words, f"--ready-fd={writer}", namespace, "tap0"]
            process = spawn(command, stdout=said, stderr=said, own_session=True, pass_fds=[writer])
            ends.enter_context(process)
        finally:
            os.close(writer)
        if not ready.read(1):
            said.seek(0)
            hint = "allow /dev/net/tun (modprobe tun; in a container: --device /dev/net/tun)"
            what, detail = "slirp4netns: no network for the fetch step", said.read().decode(errors="replace")
            raise StagewrightError(Reason.HOST_FEATURE, what, detail=detail, hint=hint)
        yield process


@contextlib.contextmanager
def _filtered(way_out: Process) -> Iterator[None]:
    """Drop packets to addresses of this machine and to metadata, also to addresses that it gets meanwhile."""
    with contextlib.ExitStack() as ends:
        known = own_addresses()
        try:
            device = packet_filter.device_of(way_out.pid)
            ends.callback(os.close, device)
            packet_filter.attach(device, _program(known))
        except OSError as error:
            raise _unusable("be confined", error) from error
        ended = threading.Event()

        def follow() -> None:
            seen = known
            while not ended.wait(_LOOK):
                with contextlib.suppress(OSError):
                    if seen != (now := own_addresses()):
                        packet_filter.attach(device, _program(now))
                        seen = now

        thread = threading.Thread(target=follow, name="addresses", daemon=True)
        thread.start()
        ends.callback(thread.join)
        ends.callback(ended.set)
        yield


def _program(own: Sequence[str]) -> bytes:
    return packet_filter.program([*UNREACHABLE, *map(IPv4Network, own)])


def _resolv_conf() -> str:
    """Return this machine's resolv.conf(5) with the resolver of the namespace."""
    lines = RESOLV_CONF.read_text(encoding="utf-8", errors="replace").splitlines() if RESOLV_CONF.exists() else []
    kept = [line for line in lines if line.split()[:1] and line.split()[0] in ("search", "domain", "options")]
    return "\n".join([f"nameserver {RESOLVER}", *kept, ""])


@contextlib.contextmanager
def _forwarding(listener: socket.socket, service: Service) -> Iterator[None]:
    """Pass connections of a socket on to a service of this machine."""
    with _Forwarder(listener, service) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()


class _Forwarder(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, service: Service) -> None:
        super().__init__(service, _Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.service = service

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the program in the root sees that its connection is closed."""


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Forwarder)
        with socket.create_connection(self.server.service, timeout=30) as service:
            service.settimeout(None)
            sending = threading.Thread(target=_pump, args=(self.request, service), daemon=True)
            sending.start()
            _pump(service, self.request)
            sending.join()  # a service can answer before it has read everything


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one end is closed."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
