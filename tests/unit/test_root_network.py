"""The network of a fetch step reaches other machines, and only those services of this machine that are named."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
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

from stagewright.root.network import Service, own_addresses
from stagewright.run import package_path

pytestmark = pytest.mark.real


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
