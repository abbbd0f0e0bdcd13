"""A TPM 2.0 for one machine, emulated by swtpm(8).

QEMU and swtpm share a socket pair, which both inherit: no path of a socket can be taken or too long. swtpm ends with
QEMU, when its socket is closed, and also if Stagewright is killed (``setpriv --pdeathsig``).
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import TracebackType

from stagewright import run
from stagewright.errors import Reason, StagewrightError

PROGRAM = "swtpm"

DEVICES = {"x86_64": "tpm-crb", "aarch64": "tpm-tis-device"}
"""QEMU's device by architecture."""


def check() -> None:
    """Raise ``MISSING_TOOL`` if swtpm is not installed."""
    if shutil.which(PROGRAM, path=run.PATH) is None:
        hint = "install swtpm on Debian and Ubuntu, app-crypt/swtpm on Gentoo"
        raise StagewrightError(Reason.MISSING_TOOL, f"{PROGRAM} is not installed", hint=hint)


def devices(architecture: str, connection: str) -> list[str]:
    """Return QEMU's arguments for a TPM. ``connection`` is the end of its socket: ``fd=N`` or ``path=FILE``."""
    words = ["-chardev", f"socket,id=tpm,{connection}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
    return [*words, "-device", f"{DEVICES[architecture]},tpmdev=tpm0"]


def command(state: Path, control: str) -> list[str]:
    """Return swtpm's command line. ``control`` is its end of the socket: ``clientfd=N`` or ``path=FILE``."""
    return [PROGRAM, "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,{control}"]


class Tpm:
    """A running TPM, as a context manager that stops it on every way out. Its state is in a folder, which may exist."""

    def __init__(self, state: Path, architecture: str) -> None:
        self._state = state
        self._architecture = architecture
        self._end: socket.socket
        self._process: run.Process

    @property
    def descriptor(self) -> int:
        """The descriptor of QEMU's end of the socket."""
        return self._end.fileno()

    @property
    def arguments(self) -> list[str]:
        """QEMU's arguments."""
        return devices(self._architecture, f"fd={self.descriptor}")

    def __enter__(self) -> Tpm:
        """Start swtpm. Raises ``MISSING_TOOL`` if it is not installed."""
        check()
        self._state.mkdir(parents=True, exist_ok=True)
        self._end, other = socket.socketpair()
        with other, (self._state / "swtpm.log").open("wb") as log:
            words = ["setpriv", "--pdeathsig", "KILL", "--", *command(self._state, f"clientfd={other.fileno()}")]
            self._process = run.spawn(words, stdout=log, stderr=run.STDOUT, own_session=True, pass_fds=[other.fileno()])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()
        self._process.end()
