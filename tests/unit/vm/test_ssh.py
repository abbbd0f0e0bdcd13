"""Logins to machines by SSH: the key, the port, and waiting for the server."""

from __future__ import annotations

import base64
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.vm import ssh
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec


def machine(*, running: bool = True) -> Machine:
    def error(why: str, what: str) -> StagewrightError:
        return StagewrightError(Reason.BOOT_FAILED, f"{why} while waiting for {what}", detail="the last lines")

    made: Any = SimpleNamespace(running=lambda: running, console=SimpleNamespace(error=error))
    return cast("Machine", made)


def test_a_new_key_is_a_credential_and_the_port_is_forwarded(tmp_path: Path) -> None:
    spec = ssh.with_key(MachineSpec(user_network=("a=b",)), tmp_path, 2222)
    first = (tmp_path / "key.pub").read_bytes()
    assert spec.user_network == ("a=b", "hostfwd=tcp:127.0.0.1:2222-:22")
    prefix, _, value = spec.extra[-1].partition("ssh.authorized_keys.root=")
    assert prefix == "type=11,value=io.systemd.credential.binary:"
    assert base64.b64decode(value) == first
    ssh.with_key(MachineSpec(), tmp_path, 2222)
    assert (tmp_path / "key.pub").read_bytes() != first


def test_a_server_that_answers_is_waited_for() -> None:
    """QEMU accepts connections from its start, and closes them while the guest does not listen."""
    with socket.create_server((ssh.LOOPBACK, 0)) as server:

        def serve() -> None:
            server.accept()[0].close()
            with server.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-test\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        ssh.wait_for_server(machine(), server.getsockname()[1], 60)
        thread.join()


@pytest.mark.parametrize(("running", "why"), [(True, "timed out"), (False, "the machine ended")])
def test_a_machine_without_a_server_is_reported(running: bool, why: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        ssh.wait_for_server(machine(running=running), ssh.free_port(), 0.1)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert why in caught.value.message
    assert "SSH server" in caught.value.hint
