"""Logins to machines by SSH: the key, the ways to the guest, and waiting for the server."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.vm import ssh, vsock
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec
from stagewright.vm.ssh import Access, KeyBy

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDummy stagewright"


def machine(*, running: bool = True) -> Machine:
    def error(why: str, what: str) -> StagewrightError:
        return StagewrightError(Reason.BOOT_FAILED, f"{why} while waiting for {what}", detail="the last lines")

    made: Any = SimpleNamespace(running=lambda: running, console=SimpleNamespace(error=error))
    return cast("Machine", made)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    (tmp_path / "key.pub").write_text(f"{PUBLIC}\n", encoding="utf-8")
    return Access(tmp_path / "key", 2222)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in for ssh(1), which answers as the text of a file says: an exit code, and a message."""
    answers = tmp_path / "answers"
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    lines = f'read code words < {answers}\nprintf "%s\\n" "$*" >> {tmp_path}/asked\necho "$words" >&2\nexit "$code"\n'
    program.write_text(f"#!/bin/sh\n{lines}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("stagewright.run.PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr("stagewright.run.environment", lambda extra=None: {"PATH": f"{program.parent}:/usr/bin:/bin"})
    return iter([answers])


@pytest.fixture
def server() -> Iterator[int]:
    """A port that answers as SSH servers do, after it has closed one connection without an answer."""
    with socket.create_server((ssh.LOOPBACK, 0)) as listening:

        def serve() -> None:
            listening.accept()[0].close()
            while True:
                try:
                    with listening.accept()[0] as connection:
                        connection.sendall(b"SSH-2.0-test\r\n")
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_guest_gets_the_key_in_every_way(access: Access) -> None:
    spec = ssh.with_access(MachineSpec(user_network=("a=b",)), access)
    assert spec.user_network == ("a=b", "hostfwd=tcp:127.0.0.1:2222-:22")
    found = {}
    for word in spec.extra:
        if word.startswith("type=11,value=io.systemd.credential.binary:"):
            name, _, value = word.rpartition(":")[2].partition("=")
            found[name] = base64.b64decode(value).decode()
    assert found["ssh.authorized_keys.root"] == f"{PUBLIC}\n"
    assert found["tmpfiles.extra"].startswith("w+ /root/.ssh/authorized_keys - - - - ")
    disc = access.key.parent / "cloud-init.iso"
    assert any(word.endswith(f"file={disc}") for word in spec.extra)
    words = ["xorriso", "-osirrox", "on", "-indev", disc, "-extract", "/", access.key.parent / "copy"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stderr
    assert "CIDATA" in said
    assert PUBLIC in (access.key.parent / "copy" / "user-data").read_text(encoding="utf-8")
    only = ssh.with_access(MachineSpec(), access, KeyBy.CLOUD_INIT)
    assert "-smbios" not in only.extra


def test_a_kept_folder_keeps_its_key(tmp_path: Path) -> None:
    """A disk that is kept accepts the key of its first start."""
    first = ssh.new_access(tmp_path, by_vsock=False)
    known = first.public_key
    assert first.key.stat().st_mode & 0o777 == 0o600
    assert ssh.new_access(tmp_path, by_vsock=False).public_key == known
    (tmp_path / "key").unlink()
    assert ssh.new_access(tmp_path, by_vsock=False).public_key != known


def test_a_server_that_answers_is_logged_in_to(client: Iterator[Path], server: int, tmp_path: Path) -> None:
    """QEMU accepts connections from its start, and closes them while the guest does not listen."""
    next(client).write_text("0 welcome\n", encoding="utf-8")
    command = ssh.wait_for_login(machine(), Access(tmp_path / "key", server), 60)
    assert command[-3:] == ["-p", str(server), "root@127.0.0.1"]
    assert "BatchMode" not in " ".join(command)
    assert (tmp_path / "asked").read_text(encoding="utf-8").strip().endswith("root@127.0.0.1 true")


def test_a_server_that_refuses_the_key_is_reported(
    client: Iterator[Path], server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(client).write_text("255 root@127.0.0.1: Permission denied (publickey).\n", encoding="utf-8")
    monkeypatch.setattr(ssh, "REFUSED", 0.0)
    with pytest.raises(StagewrightError) as caught:
        ssh.wait_for_login(machine(), Access(tmp_path / "key", server), 60)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert "Permission denied" in caught.value.detail
    assert "sshd_config" in caught.value.hint


@pytest.mark.parametrize(("running", "why"), [(True, "timed out"), (False, "the machine ended")])
def test_a_machine_without_a_server_is_reported(running: bool, why: str, tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        ssh.wait_for_login(machine(running=running), Access(tmp_path / "key", ssh.free_port()), 0.1)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert why in caught.value.message
    assert "SSH server" in caught.value.hint


def test_words_of_a_command_stay_words(client: Iterator[Path], tmp_path: Path) -> None:
    answers = next(client)
    for words, line in ((["uname -a | head"], "uname -a | head"), (["sh", "-c", "echo a  b"], "sh -c 'echo a  b'")):
        answers.write_text("7 done\n", encoding="utf-8")
        assert ssh.log_in(["ssh", "root@127.0.0.1"], words) == 7
        assert (tmp_path / "asked").read_text(encoding="utf-8").splitlines()[-1] == f"root@127.0.0.1 {line}"


def test_a_computer_without_vsock_has_no_address(tmp_path: Path) -> None:
    assert vsock.free_address(tmp_path / "none") is None
    (tmp_path / "device").touch()  # a device that does not work
    assert vsock.free_address(tmp_path / "device") is None


def test_an_address_of_vsock_is_set_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ioctl(_descriptor: int, request: int, value: bytes = b"") -> int:
        asked.append(request)
        if len(asked) == 2:
            raise OSError(vsock.errno.EADDRINUSE, "taken")
        return 0

    (tmp_path / "device").touch()
    monkeypatch.setattr(vsock.fcntl, "ioctl", ioctl)
    address = vsock.free_address(tmp_path / "device")
    assert asked == [vsock.SET_OWNER, vsock.SET_ADDRESS, vsock.SET_ADDRESS]
    assert address
    assert address > 2


def test_vsock_is_one_more_way(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Access(access.key, access.port, 77)
    assert "vhost-vsock-pci,guest-cid=77" in ssh.with_access(MachineSpec(), both, KeyBy.CREDENTIAL).extra
    monkeypatch.setattr(ssh, "_answers_by_vsock", lambda address: address == 77)
    monkeypatch.setattr(ssh, "_answers", lambda port: True)
    first, second = ssh._answering(both)
    assert first[1].startswith("ProxyCommand=env ")
    assert first[1].endswith("-m stagewright.vm.vsock 77")
    assert second == ("-p", "2222")


def test_a_connection_is_handed_over() -> None:
    """ssh(1) gets the connection itself (ProxyUseFdpass)."""
    ours, receiver = socket.socketpair()
    guest, connection = socket.socketpair()
    with ours, receiver, guest:
        with connection:
            connection.settimeout(5)
            vsock.hand_over(connection, receiver.fileno())
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        assert os.get_blocking(descriptors[0])
        with socket.socket(fileno=descriptors[0]) as handed:
            handed.sendall(b"SSH-")
            assert guest.recv(4) == b"SSH-"
