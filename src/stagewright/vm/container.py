"""Start a root in a container with systemd-nspawn(1): its init is process 1, its console is a pseudoterminal.

A folder gets ``console.log`` (raw) and ``container.log`` (messages of systemd-nspawn). The caller must run in separate
mount and pid namespaces; the container ends with them. The host does not need systemd.
"""

from __future__ import annotations

import contextlib
import os
import termios
from pathlib import Path
from types import TracebackType
from typing import IO

from stagewright import ids, run
from stagewright.id_ranges import SIZE
from stagewright.vm.console import Console

COLUMNS = 200
"""Width of the terminal. In a narrower one systemd shortens the names of units."""

STATE = Path("/run/systemd")
"""Folder where systemd-nspawn keeps its locks and looks for the host's systemd."""

_ANSWERS = {"locale": "C.UTF-8", "locale-messages": "C.UTF-8", "keymap": "us", "timezone": "UTC"}
"""Answers to the questions that systemd-firstboot(1) asks on the console if the root has no setting for them."""


def nspawn(root: Path) -> list[str]:
    """Return the command that starts the init of a root without network and without settings of the host."""
    words = ["systemd-nspawn", f"--directory={root}", "--boot", "--machine=stagewright", "--console=interactive"]
    words += ["--quiet", "--settings=no", "--register=no", "--keep-unit", "--private-network", "--suppress-sync=yes"]
    words += ["--link-journal=no", "--resolv-conf=off", "--timezone=off"]
    if root_ids := ids.owner():
        words += [f"--private-users={root_ids.uid}:{SIZE}", "--private-users-ownership=off"]
    return [*words, *(f"--set-credential=firstboot.{name}:{value}" for name, value in _ANSWERS.items())]


class Container:
    """A running container, as a context manager that stops it on every way out."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._process: run.Process
        self.console: Console

    def __enter__(self) -> Container:
        """Start the container. Raises ``MISSING_TOOL`` without systemd-nspawn.

        Any other reason why it does not start is its end, which the first wait on the console reports.
        """
        STATE.mkdir(parents=True, exist_ok=True)
        run.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", STATE])
        with contextlib.ExitStack() as stack:
            ours, its = os.openpty()
            with os.fdopen(its, "wb", buffering=0) as inner:
                terminal = stack.enter_context(contextlib.closing(_Terminal(ours)))
                termios.tcsetwinsize(its, (50, COLUMNS))
                self._process = self._spawn(inner)
            stack.callback(self._stop)
            self.console = Console(terminal, self._folder / "console.log", fate=self._fate)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self.console.close()

    def _spawn(self, terminal: IO[bytes]) -> run.Process:
        with (self._folder / "container.log").open("wb") as messages:
            return run.spawn(
                self._command, env={"TERM": "dumb"}, stdin=terminal, stdout=terminal, stderr=messages, own_session=True
            )

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def powerdown(self) -> None:
        """Ask the init to shut down. On SIGTERM, systemd-nspawn sends it the signal that systemd expects."""
        self._process.terminate()

    def _fate(self) -> str:
        """Return a sentence that says how the container ended, for errors of the console."""
        code = self._process.wait()
        said = (self._folder / "container.log").read_text(errors="replace", encoding="utf-8").strip().splitlines()
        how = "the container ended" if code == 0 else f"the container ended with exit code {code}"
        return f"{how}: {said[-1].rstrip('.')}" if said else how


class _Terminal:
    """The outer end of a pseudoterminal, used like a socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def recv(self, size: int, /) -> bytes:
        """Return output of the terminal. Raises OSError after its last process has closed it."""
        return os.read(self._descriptor, size)

    def sendall(self, data: bytes, /) -> None:
        """Type."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    def shutdown(self, how: int, /) -> None:
        """Do nothing: a wait in ``recv`` ends when the last process of the terminal ends."""

    def close(self) -> None:
        """Close the terminal."""
        os.close(self._descriptor)
