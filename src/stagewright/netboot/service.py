"""Servers that run as a program while a context lasts: dnsmasq, an NFS server, an NBD server."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, ServerSaid

START_TIMEOUT = 20.0
"""Seconds after which a program must be ready."""

_STEP = 0.1

_SPECIAL = re.compile(r"""[\x00-\x1f\x7f"'\\#]""")

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def plain_path(folder: Path) -> str:
    """Return a path as it can be in the configuration of a server.

    Raises: USAGE for a character that has a meaning there: a control character, a quote, ``\\`` or ``#``.
    """
    text = str(folder)
    if _SPECIAL.search(text):
        message = f"{text!r}: a folder with this name cannot be served (control character, quote, \\ or #)"
        raise StagewrightError(Reason.USAGE, message, hint="rename the folder")
    return text


class Service:
    """A program with ``text`` on its standard input. Each line of its output becomes an event.

    ``package`` names the packages that install the program, ``hint`` common reasons for failures. The kernel kills the
    program if this process dies. Entering the context raises ``MISSING_TOOL`` if the program is not installed, and
    ``HOST_FEATURE``, with its output, if it exits or does not become ready.
    """

    def __init__(
        self, command: Sequence[str], *, package: str, hint: str, text: str = "", listener: Listener = lambda _: None
    ) -> None:
        self.program = command[0]
        self._command = command
        self._package, self._hint, self._text = package, hint, text
        self._listener = listener
        self._output: list[str] = []

    def is_ready(self, seconds: float) -> bool:
        """Return True if the program is ready, this many seconds after its start."""
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
        with contextlib.suppress(OSError):  # it has ended already; its output has the reason
            self._process.stdin.write(self._text.encode())
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        started = time.monotonic()
        while not self.is_ready(seconds := time.monotonic() - started):
            self._reader.join(_STEP)
            if not self._reader.is_alive() or seconds > START_TIMEOUT:
                self._process.kill()
                raise self._failed(self._process.wait())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._reader.join(START_TIMEOUT)  # until the program closes its output
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _failed(self, code: int) -> StagewrightError:
        missing = code == 127
        reason = Reason.MISSING_TOOL if missing else Reason.HOST_FEATURE
        hint = f"install {self.program}: {self._package}" if missing else self._hint
        how = f" ({run.describe(code)})" if code in run.KILLED else ""
        return StagewrightError(reason, f"{self.program} did not start{how}", detail="\n".join(self._output), hint=hint)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._output.append(text)
            self._listener(ServerSaid(program=self.program, text=text))


class LoopbackService(Service):
    """A service on a TCP port of the loopback interface."""

    port: int

    def is_ready(self, seconds: float) -> bool:
        """Return True if the port accepts connections."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0
