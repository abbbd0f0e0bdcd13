"""Checks from this computer, over ports that QEMU forwards to a machine: HTTP and SSH."""

from __future__ import annotations

import contextlib
import http.client
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.vm.ssh import LOOPBACK

_ANSWER = 10.0  # seconds until a server must answer


@dataclass(frozen=True)
class Url:
    """The port, the path and the host name of a URL for a server in a machine: ``http://:80/index.html``."""

    port: int
    path: str
    host: str

    @classmethod
    def of(cls, text: str) -> Url:
        """Return the parts of a URL. Raises: INVALID_VALUE if it is not a plain HTTP URL."""
        parts = urllib.parse.urlsplit(text)
        port = None
        with contextlib.suppress(ValueError):
            port = parts.port or 80
        if parts.scheme != "http" or port is None or not parts.netloc:
            hint = "write http://:PORT/PATH; the machine is the host"
            raise StagewrightError(Reason.INVALID_VALUE, f"{text!r} is not an HTTP URL", hint=hint)
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        return cls(port, path, parts.hostname or "machine")


def fetch(url: Url, port: int) -> tuple[int, str]:
    """Return the status and the text of an answer; 0 and the reason if no server answers on the forwarded port."""
    try:
        with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER)) as connection:
            connection.request("GET", url.path, headers={"Host": url.host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"


def run_by_ssh(command: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run a command line of ssh(1). Return its exit code and its output, with error output."""
    done = run.run(["timeout", f"{max(timeout, 1):.0f}", *command], check=False)
    return done.code, done.stdout + done.stderr


def send(command: Sequence[str], source: Path) -> None:
    """Run a command line of ssh(1) with a file as its input."""
    run.run(command, stdin=source.read_bytes())


def receive(command: Sequence[str], target: Path) -> None:
    """Write the output of a command line of ssh(1) to a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        run.pipeline([command], stream.write)


def no_network(what: str) -> StagewrightError:
    """Return the error for a machine without a network card."""
    hint = "write network = true in the test, or pass network=True"
    return StagewrightError(Reason.USAGE, f"{what}: the machine has no network", hint=hint)
