"""Log in to a machine by SSH, with a key that exists for this machine only.

A guest gets the key in each way that it may know, and ignores the others:

- systemd (252 or newer) takes credentials from QEMU (systemd.system-credentials(7)). ``ssh.authorized_keys.root`` makes
  root's authorized_keys if there is none. ``tmpfiles.extra`` adds the key to a file that the image has.
- cloud-init takes it from a disc (cloud_init.py).

The server is reached by a forwarded port, and by vsock where this computer has it (vsock.py).
"""

from __future__ import annotations

import base64
import contextlib
import enum
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.interpreter import python
from stagewright.lazy_dataclass import dataclass
from stagewright.run import interactive, run
from stagewright.vm import cloud_init, vsock
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec

LOOPBACK = "127.0.0.1"

REFUSED = 60.0
"""Seconds in which a server that answers has to accept the key. Guests may write the key after the server started."""

_WITHOUT_QUESTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20")

FAILED = 255
"""Exit code of ssh(1) if it is not connected. Others are those of the command."""


class KeyBy(enum.StrEnum):
    """Ways in which the guest gets the key."""

    ALL = "all"
    CREDENTIAL = "credential"
    CLOUD_INIT = "cloud-init"


@dataclass(frozen=True)
class Access:
    """How root logs in to a machine: a private key, a port of this computer, and an address of vsock."""

    key: Path
    port: int
    address: int | None = None

    @property
    def public_key(self) -> str:
        """The public key, as in authorized_keys."""
        return self.key.with_suffix(".pub").read_text(encoding="utf-8").strip()


def free_port() -> int:
    """Return a port of the loopback interface that no program listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def new_access(folder: Path, *, by_vsock: bool = True) -> Access:
    """Return a free port, an address of vsock if there is one, and the key in a folder, which is made if missing.

    A disk that is kept knows the key of its first start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key"
    if not (key.exists() and key.with_suffix(".pub").exists()):
        for path in (key, key.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stagewright", "-f", key])
    return Access(key, free_port(), vsock.free_address() if by_vsock else None)


def with_access(spec: MachineSpec, access: Access, by: KeyBy = KeyBy.ALL) -> MachineSpec:
    """Return a machine whose guest gets the key, with its SSH port forwarded to a port of this computer."""
    words: list[str] = []
    if by in (KeyBy.ALL, KeyBy.CREDENTIAL):
        for name, value in credentials(access.public_key).items():
            encoded = base64.b64encode(value.encode()).decode()
            words += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={encoded}"]
    if by in (KeyBy.ALL, KeyBy.CLOUD_INIT):
        words += cloud_init.devices(cloud_init.write_disc(access.key.parent, access.public_key))
    if access.address:
        words += ["-device", f"vhost-vsock-pci,guest-cid={access.address}"]
    forward = f"hostfwd=tcp:{LOOPBACK}:{access.port}-:22"
    user_network = (*spec.user_network, forward)
    return replace(spec, network="user", user_network=user_network, extra=(*spec.extra, *words))


def credentials(public_key: str) -> dict[str, str]:
    """Return the credentials of systemd by name. ``w+`` appends to a file that exists (tmpfiles.d(5))."""
    line = f"w+ /root/.ssh/authorized_keys - - - - \\n{public_key}\\n\n"
    return {"ssh.authorized_keys.root": f"{public_key}\n", "tmpfiles.extra": line}


def wait_for_login(machine: Machine, access: Access, limit: float) -> list[str]:
    """Wait until root can log in to a machine. Return the beginning of the command line of ssh(1) for it.

    Raises ``BOOT_FAILED`` with the end of the console, or with the answer of a server that refuses the key.
    """
    end, refused, answer = time.monotonic() + limit, 0.0, ""
    while time.monotonic() < end and machine.running():
        for route in _answering(access):
            command = [*_ssh(access), *route, f"root@{LOOPBACK}"]
            tried = run([*command[:1], *_WITHOUT_QUESTIONS, *command[1:], "true"], check=False)
            if tried.code != FAILED:
                return command
            answer = tried.stderr.strip()
            refused = refused or time.monotonic()
        if refused and time.monotonic() - refused > REFUSED:
            break
        time.sleep(0.2)
    raise _unreachable(machine, answer, limit)


def _unreachable(machine: Machine, answer: str, limit: float) -> StagewrightError:
    if answer and machine.running():
        hint = (
            "sshd_config must permit root to log in with a key, and the guest must have systemd 252 or newer, or"
            " cloud-init; without --ssh the console shows the boot"
        )
        what = "the SSH server of the machine refuses the login"
        return StagewrightError(Reason.BOOT_FAILED, what, detail=f"  {answer}", hint=hint)
    why = "the machine ended" if not machine.running() else f"timed out after {limit:.0f} s"
    error: StagewrightError = machine.console.error(why, "the SSH server of the machine")
    error.hint = "the image needs an SSH server that starts by itself; without --ssh the console shows the boot"
    return error


def _answering(access: Access) -> Iterator[tuple[str, ...]]:
    """Yield the options of ssh(1) for the ways by which a server answers."""
    if access.address and _answers_by_vsock(access.address):
        proxy = shlex.join(python("stagewright.vm.vsock", str(access.address)))
        yield ("-o", f"ProxyCommand={proxy}", "-o", "ProxyUseFdpass=yes")
    if _answers(access.port):
        yield ("-p", str(access.port))


def _answers(port: int) -> bool:
    # QEMU accepts at once and closes the connection if the guest does not listen
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _answers_by_vsock(address: int) -> bool:
    with contextlib.suppress(OSError), vsock.connect(address) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _ssh(access: Access) -> list[str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"]
    return ["ssh", "-F", "none", "-i", str(access.key), *(word for option in options for word in ("-o", option))]


def log_in(command: Sequence[str], words: Sequence[str] = ()) -> int:
    """Run a command of :func:`wait_for_login` on this terminal. Return its exit code: that of the guest, or 255.

    One word is a line for root's shell; several are a program and its arguments.
    """
    line = [words[0] if len(words) == 1 else shlex.join(words)] if words else []
    return interactive([*command, *line])
