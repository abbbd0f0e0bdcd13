"""The file server: ranges, many clients, no file outside its folder; and the command."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import starter

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, FileProgress, FileServed
from stagewright.netboot.boot_commands import boot_commands, outward_address, qemu_arm64_command
from stagewright.netboot.methods import Method
from stagewright.netboot.serve import CHUNK, FileServer

IMAGE = bytes(range(256)) * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "boot").mkdir(parents=True)
    (folder / "boot.ipxe").write_text("#!ipxe\n", encoding="utf-8")
    (folder / "image.squashfs").write_bytes(IMAGE)
    (folder / "boot/a b&<c").write_text("odd", encoding="utf-8")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    return folder


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def server(folder: Path, events: list[Event]) -> Iterator[FileServer]:
    with FileServer(folder, listener=events.append) as server:
        yield server


DOWNLOADS = {
    "curl": ["curl", "--silent", "--show-error", "--fail", "--continue-at", "-", "--output"],
    "wget": ["wget", "--quiet", "--continue", "--output-document"],
    "aria2c": ["aria2c", "--quiet", "--continue", "--split=4", "--max-connection-per-server=4", "--min-split-size=1M"],
}


@pytest.mark.parametrize("program", DOWNLOADS)
def test_programs_continue_a_download(folder: Path, tmp_path: Path, events: list[Event], program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"NOT TESTED: no {program} (packages/apt-more.txt)")
    image = random.Random(1).randbytes(3 << 20)
    (folder / "image").write_bytes(image)
    (tmp_path / "part").write_bytes(image[:1_000_001])
    target = [f"--dir={tmp_path}", "--out=part"] if program == "aria2c" else [tmp_path / "part"]
    with FileServer(folder, listener=events.append) as server:
        subprocess.run([*DOWNLOADS[program], *target, f"http://127.0.0.1:{server.port}/image"], check=True, timeout=60)
    assert (tmp_path / "part").read_bytes() == image
    sent = [(event.status, event.start) for event in events if isinstance(event, FileServed) and event.method == "GET"]
    assert (206, 1_000_001) in sent or program == "aria2c"  # which begins with whole pieces
    assert 206 in {status for status, _ in sent}


def ask(server: FileServer, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def wait_for(events: list[Event], count: int) -> list[FileServed]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = [event for event in events if isinstance(event, FileServed)]
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(events)


def test_a_file_is_sent_whole(server: FileServer, events: list[Event]) -> None:
    answer, body = ask(server, "/image.squashfs")
    assert (answer.status, body) == (200, IMAGE)
    assert answer.getheader("Content-Length") == str(len(IMAGE))
    assert answer.getheader("Accept-Ranges") == "bytes"
    (event,) = wait_for(events, 1)
    assert (event.path, event.status, event.size, event.complete) == ("/image.squashfs", 200, len(IMAGE), True)


def test_head_sends_no_body(server: FileServer) -> None:
    answer, body = ask(server, "/image.squashfs", "HEAD")
    assert (answer.status, body, answer.getheader("Content-Length")) == (200, b"", str(len(IMAGE)))


@pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=999999999-"])
def test_head_ignores_ranges(server: FileServer, wanted: str) -> None:
    """RFC 9110, 14.2: ranges are defined for GET only."""
    answer, _ = ask(server, "/image.squashfs", "HEAD", Range=wanted)
    assert (answer.status, answer.getheader("Content-Length")) == (200, str(len(IMAGE)))


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100-199", 100, 200),
        ("bytes=0-", 0, len(IMAGE)),
        (f"bytes=5-{1 << 40}", 5, len(IMAGE)),
        ("bytes=-7", len(IMAGE) - 7, len(IMAGE)),
        (f"bytes=-{1 << 40}", 0, len(IMAGE)),
        (f"bytes={len(IMAGE) - 1}-", len(IMAGE) - 1, len(IMAGE)),
        ("BYTES=0-9", 0, 10),
        (f"bytes=3-{'9' * 5000}", 3, len(IMAGE)),
        (f"bytes=-{'9' * 5000}", 0, len(IMAGE)),
    ],
)
def test_ranges_are_sent(server: FileServer, wanted: str, start: int, end: int) -> None:
    answer, body = ask(server, "/image.squashfs", Range=wanted)
    assert (answer.status, body) == (206, IMAGE[start:end])
    assert answer.getheader("Content-Range") == f"bytes {start}-{end - 1}/{len(IMAGE)}"


@pytest.mark.parametrize("wanted", [f"bytes={len(IMAGE)}-", "bytes=-0", f"bytes={'9' * 5000}-"])
def test_ranges_behind_the_end_are_refused(server: FileServer, wanted: str) -> None:
    answer, _ = ask(server, "/image.squashfs", Range=wanted)
    assert (answer.status, answer.getheader("Content-Range")) == (416, f"bytes */{len(IMAGE)}")


@pytest.mark.parametrize("wanted", ["bytes=9-3", "bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "²"])
def test_invalid_and_multiple_ranges_return_the_whole_file(server: FileServer, wanted: str) -> None:
    answer, body = ask(server, "/image.squashfs", Range=wanted.encode("utf-8").decode("latin-1"))
    assert (answer.status, body) == (200, IMAGE)


def test_a_range_of_an_older_file_returns_the_whole_file(server: FileServer) -> None:
    tag = ask(server, "/image.squashfs", "HEAD")[0].getheader("ETag") or ""
    assert ask(server, "/image.squashfs", Range="bytes=0-9", If_Range=tag)[0].status == 206
    assert ask(server, "/image.squashfs", Range="bytes=0-9", If_Range='"other"')[0].status == 200


def test_one_connection_serves_many_requests(server: FileServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for path, status in (("/boot.ipxe", 200), ("/none", 404), ("/boot.ipxe?query", 200), ("/boot/", 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status, path
    connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/boot/../../secret",
        "//etc/passwd",
        "/..%2fsecret",
        "/out",
        "/folder/secret",
        "/%00",
    ],
)
def test_files_outside_the_folder_are_not_served(server: FileServer, folder: Path, path: str) -> None:
    (folder / "out").symlink_to("../secret")
    (folder / "folder").symlink_to("..")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        said = b"".join(iter(lambda: raw.recv(4096), b""))
    assert b" 404 " in said.splitlines()[0]
    assert b"root:" not in said
    assert not said.endswith(b"secret")


def test_links_inside_the_folder_are_followed(server: FileServer, folder: Path) -> None:
    (folder / "latest.squashfs").symlink_to("image.squashfs")
    assert ask(server, "/latest.squashfs")[1] == IMAGE


def test_pipes_and_devices_are_not_read(server: FileServer, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert ask(server, "/pipe")[0].status == 404


def test_folders_are_listed(server: FileServer) -> None:
    body = ask(server, "/boot")[1].decode()
    assert 'href="/boot/a%20b%26%3Cc"' in body
    assert "a b&amp;&lt;c" in body
    assert ask(server, "/boot/a%20b%26%3Cc")[1] == b"odd"


def test_names_that_are_not_utf8_are_listed_and_served(server: FileServer, folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/boot/latin\xe9.txt"))).write_text("x", encoding="utf-8")
    answer, body = ask(server, "/boot/")
    assert (answer.status, b'href="/boot/latin%E9.txt"' in body) == (200, True)
    assert "latin\ufffd.txt" in body.decode()
    assert ask(server, "/boot/latin%e9.txt")[1] == b"x"


@pytest.mark.parametrize("path", ["//[x", "/%00", "/" + "x" * 5000, "/%ff%fe"])
def test_odd_paths_are_not_found(server: FileServer, path: str) -> None:
    assert ask(server, path)[0].status in (200, 404)
    assert ask(server, "/boot.ipxe")[0].status == 200


def test_many_clients_are_served_at_once(server: FileServer, folder: Path, events: list[Event]) -> None:
    """A client that reads nothing does not delay the others."""
    big = os.urandom(3 * CHUNK + 5)
    (folder / "big").write_bytes(big)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as lazy:
        lazy.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        bodies: list[bytes] = []
        threads = [threading.Thread(target=lambda: bodies.append(ask(server, "/big")[1])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert bodies == [big] * 8
    served = wait_for(events, 9)
    assert sorted(event.complete for event in served) == [False] + [True] * 8
    progress = [event for event in events if isinstance(event, FileProgress)]
    assert progress
    assert all(0 < event.done < event.total == len(big) for event in progress)


def test_an_address_in_use_is_reported(server: FileServer, folder: Path) -> None:
    for address, port in (("127.0.0.1", server.port), ("192.0.2.1", 0)):
        with pytest.raises(StagewrightError) as caught:
            FileServer(folder, address, port)
        assert caught.value.reason is Reason.HOST_FEATURE
        assert caught.value.hint


def test_ipv6_addresses_are_served(folder: Path) -> None:
    try:
        server = FileServer(folder, "::1")
    except StagewrightError:
        pytest.skip("NOT TESTED: no IPv6 here")
    with server, socket.create_connection(("::1", server.port), timeout=20) as raw:
        raw.sendall(b"GET /boot.ipxe HTTP/1.0\r\n\r\n")
        assert b" 200 " in raw.recv(4096)
    assert server.url("::1") == f"http://[::1]:{server.port}"


def test_commands_for_ipxe_and_qemu() -> None:
    found = boot_commands("http://192.0.2.5:80", "192.0.2.5", 80, ["-accel", "tcg"], tftp=None)
    assert "http://192.0.2.5:80/boot.ipxe" in found["ipxe"]
    assert "bootfile=http://192.0.2.5:80/boot.ipxe" in found["qemu"]
    for address in ("127.0.0.1", "0.0.0.0"):
        found = boot_commands("http://127.0.0.1:80", address, 80, [], tftp=Path("/srv"))
        assert "bootfile=http://10.0.2.2:80/boot.ipxe" in found["qemu"]
        assert "tftp=/srv,bootfile=boot.ipxe" in found["qemu_tftp"]
        assert "ipxe_stream" not in found
    found = boot_commands("http://192.0.2.5:80", "192.0.2.5", 80, [], tftp=None, methods=[Method.INITRD, Method.STREAM])
    assert found["ipxe_stream"] == (
        "dhcp && set method stream && set base-url http://192.0.2.5:80 && chain http://192.0.2.5:80/boot.ipxe"
    )
    assert outward_address("192.0.2.5") == "192.0.2.5"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_a_signal(folder: Path, number: signal.Signals) -> None:
    reader, writer = os.pipe()
    words = ["netboot", "serve", folder, "--address", "127.0.0.1", "--port", "0", "--json"]
    with starter.memory() as errors, open(reader, encoding="utf-8") as output:
        process = starter.start(*words, cwd=folder, stdout=writer, stderr=errors)
        os.close(writer)
        first = json.loads(output.readline())
        host, port = first["url"].removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/boot.ipxe")
        assert connection.getresponse().read() == b"#!ipxe\n"
        told = json.loads(output.readline())
        assert (told["event"], told["path"], told["status"]) == ("FileServed", "/boot.ipxe", 200)
        process.kill(number)
        assert (process.wait(timeout=30), starter.content(errors)) == (0, b"")


@pytest.mark.slow
def test_the_command_reports_errors(folder: Path, tmp_path: Path) -> None:
    (folder / "boot.ipxe").unlink()
    for words in ([str(folder)], [str(tmp_path / "none")], [str(folder), "--port", "70000"]):
        done = starter.run("netboot", "serve", *words, cwd=tmp_path, timeout=60)
        assert done.returncode == 2, done
        assert b"Traceback" not in done.stderr
    (folder / "boot.ipxe").touch()
    done = starter.run("netboot", "serve", folder, "--proxy-dhcp", cwd=tmp_path, timeout=60)
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
    assert b"--address" in done.stderr


def test_an_arm64_machine_loads_grub(tmp_path: Path) -> None:
    line = qemu_arm64_command(["-cpu", "max"], Path("/fw/CODE.fd"), tmp_path)
    assert line.startswith("qemu-system-aarch64 -M virt -cpu max ")
    assert f"tftp={tmp_path},bootfile=grubaa64.efi" in line
