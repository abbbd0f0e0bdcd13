"""Run a script on the console of a guest (a machine or a container), and record the findings."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.console import TAIL_LINES, Console, shorten
from stagewright.vm.script import BootCommand, BootScript

_NUDGE = 10.0  # seconds without a prompt before Enter is pressed


class Guest(Protocol):
    """A running system with a console."""

    @property
    def console(self) -> Console:
        """Console of the guest."""

    def powerdown(self) -> None:
        """Ask the guest from outside to shut down."""


@dataclass
class ScriptRun:
    """A run of a script with its findings so far. ``landmarks`` are milestones that are recorded if they appear."""

    script: BootScript
    on_phase: Callable[[str], None]
    landmarks: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    milestones: dict[str, float] = field(default_factory=dict)
    memory: int | None = None
    seconds: float = 0.0

    def run(self, guest: Guest, end: float, before_shutdown: Callable[[], None] = lambda: None) -> None:
        """Run the script in a guest, at most until ``end`` (monotonic clock).

        ``before_shutdown`` is called before the shutdown. Raises ``BOOT_FAILED`` with the end of the console.
        """
        try:
            self._run(guest, end, before_shutdown)
        finally:
            self._note(guest.console)

    def findings(self) -> dict[str, Any]:
        """Return the findings that all reports contain."""
        return {
            "seconds": round(self.seconds, 2),
            "milestones": dict(sorted(self.milestones.items(), key=lambda item: item[1])),
            "memory_available": self.memory,
        }

    def _run(self, guest: Guest, end: float, before_shutdown: Callable[[], None]) -> None:
        console, script = guest.console, self.script
        for pattern in script.expect:
            self.on_phase(f"wait for {pattern}")
            self._await(console, pattern, end)
        if script.needs_shell:
            self._log_in(console, end)
            self.memory = _memory(console, end)
        for command in script.commands:
            self.on_phase(f"run {shorten(command.run)}")
            self._command(console, command, end)
        before_shutdown()
        if script.poweroff:
            self.on_phase("poweroff")
            self._power_off(guest, end)

    def _await(self, console: Console, pattern: str, end: float, *, name: str = "", again: bool = False) -> None:
        left = max(end - time.monotonic(), 0)
        what = f"the {name}" if name else f"/{pattern}/"
        match = console.expect(re.compile(pattern, re.MULTILINE), left, what=what, again=again)
        self.milestones[name or pattern] = round(console.seconds(match.end() - 1), 2)

    def _log_in(self, console: Console, end: float) -> None:
        login = self.script.login
        if login:
            self.on_phase("log in")
            # the last match, like "login:", may be in the line of the prompt
            self._await(console, login.login_prompt, end, name="login prompt", again=True)
            console.send(login.user + "\n")
            if login.password:
                self._await(console, login.password_prompt, end, name="password prompt")
                console.send(login.password + "\n")
        self._await_prompt(console, end, again=login is None)

    def _await_prompt(self, console: Console, end: float, *, again: bool) -> None:
        """Wait for the shell. Kernel messages can hide a prompt, so press Enter from time to time for a new one."""
        pattern = re.compile(rf"(?P<prompt>{self.script.prompt})|Login incorrect", re.MULTILINE)
        while True:
            left = max(end - time.monotonic(), 0)
            match = console.look(pattern, min(left, _NUDGE), what="a shell prompt", again=again)
            again = False
            if match is None and left <= _NUDGE:
                raise console.error("timed out", "a shell prompt")
            if match is None:
                console.send("\n")
            elif match["prompt"] is None:
                raise console.error("login failed (Login incorrect)", "a shell prompt")
            elif self._stays(console, match.end()):
                self.milestones["shell"] = round(console.seconds(match.end() - 1), 2)
                return

    @staticmethod
    def _stays(console: Console, offset: int) -> bool:
        """Return True if a line that looks like a prompt ends there. The rest of the line may arrive later."""
        time.sleep(0.2)
        return console.text[offset : offset + 1] in ("", "\n")

    def _command(self, console: Console, command: BootCommand, end: float) -> None:
        status, output = console.run(command.run, max(end - time.monotonic(), 0))
        self.milestones[shorten(command.run)] = round(time.monotonic() - console.started, 2)
        if status != command.status:
            problem = f"wrong exit status (found {status}, expected {command.status})"
        elif command.expect and not re.search(command.expect, output, re.MULTILINE):
            problem = f"/{command.expect}/ not found in its output"
        else:
            return
        message = f"command {shorten(command.run)!r} in the guest: {problem}"
        raise StagewrightError(Reason.BOOT_FAILED, message, detail="\n".join(output.splitlines()[-TAIL_LINES:]))

    def _power_off(self, guest: Guest, end: float) -> None:
        if self.script.needs_shell:
            guest.console.send("poweroff\n")
        else:
            guest.powerdown()
        if not guest.console.wait_end(max(end - time.monotonic(), 0)):
            raise StagewrightError(
                Reason.BOOT_FAILED, "timed out while waiting for the guest's shutdown", detail=guest.console.tail()
            )
        self.milestones["off"] = round(time.monotonic() - guest.console.started, 2)

    def _note(self, console: Console) -> None:
        """Record the output and the landmarks in it."""
        self.text = console.text
        self.seconds = time.monotonic() - console.started
        for name, pattern in self.landmarks.items():
            match = re.search(pattern, self.text)
            if match:
                self.milestones.setdefault(name, round(console.seconds(match.start()), 2))


def _memory(console: Console, end: float) -> int | None:
    """Return MemAvailable in KiB, or None if the guest has no /proc/meminfo."""
    status, output = console.run("cat /proc/meminfo", max(end - time.monotonic(), 0))
    match = re.search(r"^MemAvailable:\s+(\d+) kB", output, re.MULTILINE)
    return int(match[1]) if match and status == 0 else None
