"""The network of a fetch step reaches other machines, and only those services of this machine that are named."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boxes import PYTHON, SYSCALL, make_box
from fake_workers import eventually

from stagewright.errors import Reason, StagewrightError
from stagewright.interpreter import package_path
from stagewright.root import network, packet_filter
from stagewright.root.network import Service, fetch_network, own_addresses

pytestmark = pytest.mark.real

SO_ATTACH_FILTER = 26


class _Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"hello " + self.rfile.readline())


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _Unix(_Tcp):
    address_family = socket.AF_UNIX


@contextmanager
def greeter(address: Any) -> Iterator[Any]:
    """A server that greets. Yields its address."""
    kind = _Unix if isinstance(address, str) else _Tcp
    with kind(address, _Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address
        server.shutdown()


ASK = """
import socket
for address in eval(sys.argv[1]):
    try:
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
            client.settimeout(60)
            client.connect(address)
            client.sendall(b"root\\n")
            print(client.makefile().readline(), end="")
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
"""


def test_only_named_services_of_this_machine_can_be_reached(tmp_path: Path) -> None:
    own = (own_addresses() or ["127.0.0.1"])[0]
    name = f"\0stagewright-test-{os.getpid()}"
    with (
        greeter(("127.0.0.1", 0)) as first,
        greeter(("127.0.0.1", 0)) as second,
        greeter((own, 0)) as third,
        greeter(name),
    ):
        places = repr([first, second, third, name])
        box = make_box(tmp_path)
        assert box.python_old(ASK, places, network=True).splitlines() == ["hello root"] * 4
        assert box.python(ASK, places, network=True).splitlines() == ["ECONNREFUSED"] * 4
        services = (Service(*second), Service(*third), Service("192.0.2.250", 80))
        root = replace(box.root, services=services)
        said = root.run(PYTHON, "-c", SYSCALL + ASK, places, network=True).stdout
        assert said.splitlines() == ["ECONNREFUSED", "hello root", "hello root", "ECONNREFUSED"]


def test_a_service_that_is_named_twice_is_passed_on_once(tmp_path: Path) -> None:
    with greeter(("127.0.0.1", 0)) as address:
        root = replace(make_box(tmp_path).root, services=(Service(*address), Service(*address)))
        assert root.run(PYTHON, "-c", SYSCALL + ASK, repr([address]), network=True).stdout == "hello root\n"


def test_a_service_that_cannot_be_passed_on_is_reported() -> None:
    other = Service("0.0.0.0", 4321)
    with pytest.raises(StagewrightError) as caught, fetch_network([Service("127.0.0.1", 4321), other]):
        pass
    assert caught.value.reason is Reason.INVALID_VALUE
    assert str(other) in caught.value.message


BOUND = """
import socket
device = socket.if_nametoindex("tap0").to_bytes(4, sys.byteorder) + bytes(8)
for address in eval(sys.argv[1]):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendmsg([address[0].encode()], [(socket.IPPROTO_IP, 8, device)], 0, address)
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
    client.settimeout(60)
    print(client.connect_ex(("10.203.2.3", 9)) != 0)
    for option in (socket.SO_BINDTODEVICE, 62):
        try:
            client.setsockopt(socket.SOL_SOCKET, option, device)
        except OSError as error:
            print(errno.errorcode[error.errno])
"""
"""Sends past all routes by IP_PKTINFO. The answer to the connection comes after slirp4netns has seen the packets."""


def test_packets_that_are_sent_past_all_routes_do_not_reach_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_box(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 0))
        addresses = [(address, server.getsockname()[1]) for address in ("127.0.0.1", *own_addresses()[:1])]
        with monkeypatch.context() as unfiltered:
            unfiltered.setattr(network, "_program", lambda _: packet_filter.program([]))
            box.python(BOUND, repr(addresses), network=True)
        server.settimeout(60)
        assert {server.recv(99).decode() for _ in addresses} == {address for address, _ in addresses}  # in any order
        assert box.python(BOUND, repr(addresses), network=True).split() == ["True", "EPERM", "EPERM"]
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(99)


def test_the_filter_lets_packets_to_other_machines_through() -> None:
    own = "198.51.100.7"
    passed = ["10.203.2.2", "198.51.100.8", "192.168.1.1", "8.8.8.8", "10.203.3.1"]
    refused = [
        "127.0.0.1",
        "127.9.9.9",
        own,
        "169.254.169.254",
        "224.0.0.251",
        "255.255.255.255",
        "0.0.0.0",
    ]
    frames = [bytes(12) + b"\x08\x00" + bytes(16) + socket.inet_aton(address) for address in [*passed, *refused]]
    arp, ipv6 = bytes(12) + b"\x08\x06" + bytes(28), bytes(12) + b"\x86\xdd" + bytes(40)
    code = network._program([own])
    held = ctypes.create_string_buffer(code, len(code))
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(code) // 8, ctypes.addressof(held))
        )
        for frame in (*frames, ipv6, arp):
            sender.send(frame)
        found = iter(lambda: receiver.recv(99), arp)
        assert [socket.inet_ntoa(frame[30:34]) for frame in found] == passed


def test_an_address_that_this_machine_gets_meanwhile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter follows the addresses."""
    programs: list[bytes] = []
    attach = packet_filter.attach
    monkeypatch.setattr(network, "_LOOK", 0.01)
    monkeypatch.setattr(packet_filter, "attach", lambda where, code: (programs.append(code), attach(where, code)))
    with fetch_network():
        monkeypatch.setattr(network, "own_addresses", lambda: ["198.51.100.7"])
        eventually(lambda: programs[-1:] == [network._program(["198.51.100.7"])])


GATEWAY = """
import socket
print(open("/etc/resolv.conf").readline().strip())
print(libc.socket(17, 3, 3), sorted(name for _, name in socket.if_nameindex()))
for address in ("10.203.2.2", "169.254.169.254", "0.0.0.0"):
    try:
        socket.create_connection((address, int(sys.argv[1])), 60)
        print("connected")
    except OSError as error:
        print("refused")
"""


def test_no_address_leads_to_this_machine_or_to_the_metadata_of_a_cloud(tmp_path: Path) -> None:
    with greeter(("0.0.0.0", 0)) as address:
        port = str(address[1])
        said = make_box(tmp_path).python(GATEWAY, port, network=True).splitlines()
    assert said == ["nameserver 10.203.2.3", "-1 ['lo', 'tap0']", *["refused"] * 3]


def children_of(process: int) -> list[int]:
    """Return the children of a process, from proc_pid_stat(5): not every kernel has a list of them in /proc."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(file.read_bytes().rpartition(b")")[2].split()[1]) == process:
                found.append(int(file.parent.name))
    return found


def test_the_way_out_ends_with_the_process_that_made_it() -> None:
    script = (
        f"import sys, time; sys.path.insert(0, {package_path()!r})\n"
        "from stagewright.root.network import fetch_network\n"
        "with fetch_network():\n    print('made', flush=True)\n    time.sleep(4321)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"made\n"
            children = children_of(process.pid)
            assert [Path(f"/proc/{child}/comm").read_text("ascii").strip() for child in children] == ["slirp4netns"]
        finally:
            process.send_signal(signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{child}/exe").exists() for child in children))
