"""A root started in a container by systemd-nspawn(1): its own init as process 1, its console on a pseudoterminal.

A folder keeps the evidence whatever happened: ``console.log`` (raw), ``container.log`` (what nspawn itself said) and
``result.json``. Needs mount and pid namespaces of its own around it, whose end is the end of the container, and works
without systemd on this machine: no manager is asked for anything.
"""

from __future__ import annotations

import contextlib
import os
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from stagewright import run
from stagewright.errors import StagewrightError
from stagewright.vm.console import Console
from stagewright.vm.script import BootScript, Report
from stagewright.vm.script_run import ScriptRun

COLUMNS = 200
"""Of the terminal: wide enough that systemd does not shorten the names of units in its messages."""

STATE = Path("/run/systemd")
"""Where nspawn keeps its locks, and looks for the machine's systemd."""

_ANSWERS = {"locale": "C.UTF-8", "locale-messages": "C.UTF-8", "keymap": "us", "timezone": "UTC"}
"""To what systemd-firstboot(1) would ask for on the console where a root does not say it."""


def start(root: Path, script: BootScript, folder: Path, on_phase: Callable[[str], None] = lambda phase: None) -> Report:
    """Start the init of a root and put it through a script. Raises ``BOOT_FAILED`` with the end of the console."""
    folder.mkdir(parents=True, exist_ok=True)
    found = ScriptRun(script, on_phase)
    command = nspawn(root)

    def report(error: str = "") -> Report:
        told = run.paste(command)
        made = Report(passed=not error, command=told, console=folder / "console.log", error=error, **found.facts())
        (folder / "result.json").write_text(made.to_json(), encoding="utf-8")
        return made

    on_phase("start")
    end = time.monotonic() + script.seconds
    try:
        with Container(command, folder) as container:
            found.follow(container, end)
    except StagewrightError as problem:
        report(problem.message)
        raise
    return report()


def nspawn(root: Path) -> list[str]:
    """The command that starts the init of a root, with no network and nothing of this machine's settings."""
    words = ["systemd-nspawn", f"--directory={root}", "--boot", "--machine=stagewright", "--console=interactive"]
    words += ["--quiet", "--settings=no", "--register=no", "--keep-unit", "--private-network", "--suppress-sync=yes"]
    words += ["--link-journal=no", "--resolv-conf=off", "--timezone=off"]
    return [*words, *(f"--set-credential=firstboot.{name}:{value}" for name, value in _ANSWERS.items())]


class Container:
    """A running container, as a context manager: on leaving, all of it is gone, whatever happened."""

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
        """Have nspawn ask the init to shut down, by the signal that systemd takes for that."""
        self._process.terminate()

    def _fate(self) -> str:
        """How it ended, for a reader of a console that fell silent."""
        code = self._process.wait()
        said = (self._folder / "container.log").read_text(errors="replace", encoding="utf-8").strip().splitlines()
        how = "the container ended" if code == 0 else f"the container ended with {code}"
        return f"{how}: {said[-1].rstrip('.')}" if said else how


class _Terminal:
    """The outer end of a pseudoterminal, used like a socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def recv(self, size: int, /) -> bytes:
        """What was written to the terminal; an OSError once nobody has it open any more."""
        return os.read(self._descriptor, size)

    def sendall(self, data: bytes, /) -> None:
        """Type."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    def shutdown(self, how: int, /) -> None:
        """Nothing to do: a reader's wait ends with the processes that have the terminal."""

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
