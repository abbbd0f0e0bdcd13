"""A program that serves beside us while a context lasts: dnsmasq, an NFS server, an NBD server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, ServerSaid

PATIENCE = 20.0
"""Seconds within which a program listens."""

_STEP = 0.1

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class Beside:
    """A program with a command line, and ``text`` on its standard input; what it says becomes events.

    ``package`` says where the program comes from, ``hint`` what keeps it from working. It ends with this process, too.
    Raises ``MISSING_TOOL``, or ``HOST_FEATURE`` with what it said when it does not stay or does not listen.
    """

    def __init__(
        self, command: Sequence[str], *, package: str, hint: str, text: str = "", listener: Listener = lambda _: None
    ) -> None:
        self.program = command[0]
        self._command = command
        self._package, self._hint, self._text = package, hint, text
        self._listener = listener
        self._said: list[str] = []

    def is_ready(self, seconds: float) -> bool:
        """Whether it serves, after so many seconds."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._process = run.spawn(
            ["setpriv", "--pdeathsig", "KILL", "--", *self._command],
            stdin=run.PIPE,
            stdout=run.PIPE,
            stderr=run.STDOUT,
            own_session=True,
        )
        assert self._process.stdin
        self._process.stdin.write(self._text.encode())
        self._process.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        started = time.monotonic()
        while not self.is_ready(seconds := time.monotonic() - started):
            self._reader.join(_STEP)
            if not self._reader.is_alive() or seconds > PATIENCE:
                self._process.kill()
                raise self._failed(self._process.wait())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._reader.join(PATIENCE)  # what it says ends with it
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _failed(self, code: int) -> StagewrightError:
        missing = code == 127
        reason = Reason.MISSING_TOOL if missing else Reason.HOST_FEATURE
        hint = f"install {self.program}: {self._package}" if missing else self._hint
        return StagewrightError(reason, f"{self.program} did not start", detail="\n".join(self._said), hint=hint)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            self._listener(ServerSaid(program=self.program, text=text))


class OnLoopback(Beside):
    """One that serves a TCP port of the loopback."""

    port: int

    def is_ready(self, seconds: float) -> bool:
        """Whether the port takes connections."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0
