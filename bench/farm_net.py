"""Computers of a farm: a network namespace for each, joined by a bridge, with nothing outside of the namespaces.

::

    hub        the bridge; one port for each computer
    NAME       eth0 (10.77.0.N/24) and loopback; with ``outside`` also tap0, by slirp4netns, for downloads

Programs of a computer enter its network namespace, and share everything else with this machine. A computer can have a
mount namespace as well, in which some programs of this machine do not exist.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NET = "10.77.0"
"""The first three numbers of all addresses."""

TOOLS = ("ip", "nsenter", "unshare", "slirp4netns")

_HIDE = 'for path in $HIDDEN; do mount --bind /dev/null "$path" || exit 1; done; exec "$@"'
_END = 20.0
"""Seconds for a program to end after SIGTERM."""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass(frozen=True)
class Computer:
    """A computer: its name, its network namespace, its address, and programs that it does not have."""

    name: str
    namespace: str
    address: str
    hidden: Sequence[Path] = ()

    def words(self, *words: str | Path) -> list[str]:
        """Return the command line that runs a program on it."""
        line = ["nsenter", f"--net=/run/netns/{self.namespace}", "--"]
        if self.hidden:
            line += ["env", f"HIDDEN={' '.join(map(str, self.hidden))}"]
            line += ["unshare", "--mount", "sh", "-c", _HIDE, "sh"]
        return [*line, *map(str, words)]


@dataclass
class Network:
    """A network of computers. Use :func:`network`, which removes all of it at the end."""

    folder: Path
    token: str = field(default_factory=lambda: f"swf{secrets.token_hex(3)}")
    computers: dict[str, Computer] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def _hub(self) -> str:
        return f"{self.token}-hub"

    def add(self, name: str, *, outside: bool = False, hidden: Sequence[Path] = ()) -> Computer:
        """Add a computer. With ``outside``, it reaches what this machine reaches."""
        number = len(self.computers) + 2
        one = Computer(name, f"{self.token}-{name}", f"{NET}.{number}", hidden)
        if not self.computers:
            _ip("netns", "add", self._hub)
            _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
            _ip("-n", self._hub, "link", "set", "br0", "up")
        _ip("netns", "add", one.namespace)
        self.computers[name] = one
        port = ("name", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", one.namespace)
        _ip("-n", self._hub, "link", "add", *port)
        _ip("-n", self._hub, "link", "set", f"p{number}", "master", "br0", "up")
        _ip("-n", one.namespace, "addr", "add", f"{one.address}/24", "dev", "eth0")
        _ip("-n", one.namespace, "link", "set", "lo", "up")
        self.join(name)
        if outside:
            path = f"/run/netns/{one.namespace}"
            self._spawn(f"{name}.slirp", ["slirp4netns", "--configure", "--netns-type=path", path, "tap0"], {})
        return one

    def cut(self, name: str) -> None:
        """Cut the link of a computer."""
        _ip("-n", self.computers[name].namespace, "link", "set", "eth0", "down")

    def join(self, name: str) -> None:
        """Restore the link of a computer."""
        _ip("-n", self.computers[name].namespace, "link", "set", "eth0", "up")

    def log(self, name: str) -> Path:
        """Return the path of what a program has printed."""
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """Return what a program has printed."""
        return self.log(name).read_text(errors="replace")

    def start(self, computer: str, name: str, words: Sequence[str | Path], env: Mapping[str, str]) -> None:
        """Start a program on a computer, in a separate session. Its output goes to the end of its log."""
        self._spawn(name, self.computers[computer].words(*words), env)

    def _spawn(self, name: str, words: Sequence[str], env: Mapping[str, str]) -> None:
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env or None, start_new_session=True
            )

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End a program by a signal, by SIGKILL if it does not end, and return its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            return process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def wait_for(self, name: str, text: str, seconds: float = 120.0) -> None:
        """Wait until a program has printed a text. Raises RuntimeError if it ends, TimeoutError."""
        end = time.monotonic() + seconds
        while text not in self.said(name):
            if self.processes[name].poll() is not None:
                raise RuntimeError(f"{name} has ended: {self.said(name)[-2000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{name} did not print {text!r}: {self.said(name)[-2000:]}")
            time.sleep(0.05)

    def reachable(self, computer: str, port: int, program: str, seconds: float = 120.0) -> None:
        """Wait until a program of a computer accepts connections. Raises RuntimeError if it ends, TimeoutError."""
        address = self.computers[computer].address
        look = self.computers[computer].words("bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")
        end = time.monotonic() + seconds
        while subprocess.run(look, check=False, capture_output=True).returncode:
            if self.processes[program].poll() is not None:
                raise RuntimeError(f"{program} has ended: {self.said(program)[-2000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{program}: no answer on port {port}")
            time.sleep(0.1)

    def close(self) -> None:
        """End all programs and remove all namespaces."""
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for name in list(self.processes):
            self.stop(name)
        for namespace in [*(one.namespace for one in self.computers.values()), self._hub]:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", namespace)


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Yield a network without computers. ``folder`` gets the logs of programs."""
    folder.mkdir(parents=True, exist_ok=True)
    one = Network(folder)
    try:
        yield one
    finally:
        one.close()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, ["ip", *words], done.stdout, done.stderr)
