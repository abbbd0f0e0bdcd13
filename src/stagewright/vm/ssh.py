"""Log in to a machine by SSH, with a key that exists for this machine only.

systemd in the guest gets the key as the credential ``ssh.authorized_keys.root``, which systemd-tmpfiles writes to
root's authorized_keys (systemd.system-credentials(7), systemd 252 or newer). QEMU hands it over in an SMBIOS string.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stagewright.errors import StagewrightError
from stagewright.run import interactive, run
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port of the loopback interface that no program listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def with_key(spec: MachineSpec, folder: Path, port: int) -> MachineSpec:
    """Return a machine whose root accepts a new key, with its SSH port forwarded to a port of this computer."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key"
    for name in (key, key.with_suffix(".pub")):
        name.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stagewright", "-f", key])
    value = base64.b64encode(key.with_suffix(".pub").read_bytes()).decode()
    credential = f"type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={value}"
    forward = f"hostfwd=tcp:{LOOPBACK}:{port}-:22"
    return replace(
        spec,
        network="user",
        user_network=(*spec.user_network, forward),
        extra=(*spec.extra, "-smbios", credential),
    )


def wait_for_server(machine: Machine, port: int, limit: float) -> None:
    """Wait for the SSH server of a machine. Raises ``BOOT_FAILED`` with the end of the console."""
    end = time.monotonic() + limit
    while time.monotonic() < end and machine.running():
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5) as connection:
            # QEMU accepts at once and closes the connection if the guest does not listen
            if connection.recv(4) == b"SSH-":
                return
        time.sleep(0.5)
    why = "the machine ended" if not machine.running() else f"timed out after {limit:.0f} s"
    error: StagewrightError = machine.console.error(why, "the SSH server of the machine")
    error.hint = "the image needs an SSH server that starts by itself; without --ssh the console shows the boot"
    raise error


def log_in(folder: Path, port: int, command: Sequence[str] = ()) -> int:
    """Run ssh(1) on this terminal, and return its exit code: that of the command or shell, or 255."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"]
    words = ["ssh", "-F", "none", "-i", str(folder / "key"), "-p", str(port)]
    words += [word for option in options for word in ("-o", option)]
    return interactive([*words, f"root@{LOOPBACK}", *command])
