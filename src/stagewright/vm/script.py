"""Scripts for tests of guests, and the reports of these tests."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError


@dataclass(frozen=True)
class Login:
    """Data for a login. The prompts are regular expressions."""

    user: str
    password: str = ""
    login_prompt: str = r"login: ?"
    password_prompt: str = r"[Pp]assword: ?"  # noqa: S105  a prompt


@dataclass(frozen=True)
class BootCommand:
    """A command for the guest's shell, its expected exit status, and a regular expression for its output."""

    run: str
    expect: str = ""
    status: int = 0


@dataclass(frozen=True)
class BootScript:
    """The expected output of a boot in order, and the commands to run.

    ``seconds`` is the time limit of the whole script; a second attempt has the same limit. ``expect`` and ``prompt``
    are regular expressions, searched with MULTILINE. Without ``login`` the commands wait for a prompt, for consoles
    with automatic login. ``poweroff`` asks the guest to shut down and waits for its end. ``entry`` is the line of the
    boot menu to start. 1 is the first line, which starts by default.
    """

    expect: tuple[str, ...] = ()
    login: Login | None = None
    prompt: str = r"[#$] ?$"
    commands: tuple[BootCommand, ...] = ()
    poweroff: bool = False
    seconds: float = 300.0
    entry: int = 1

    def __post_init__(self) -> None:
        login = (self.login.login_prompt, self.login.password_prompt) if self.login else ()
        for pattern in (*self.expect, *login, self.prompt, *(command.expect for command in self.commands)):
            try:
                re.compile(pattern)
            except re.error as error:
                raise StagewrightError(
                    Reason.INVALID_VALUE, f"invalid regular expression {pattern!r}: {error}"
                ) from error

    @property
    def needs_shell(self) -> bool:
        """True if the script uses a shell of the guest."""
        return bool(self.login or self.commands)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Findings of a test of a guest. Times are seconds since its start. Memory is in KiB, as in /proc/meminfo."""

    passed: bool
    seconds: float
    milestones: dict[str, float]
    command: str
    console: Path
    memory_available: int | None = None
    error: str = ""

    def to_json(self) -> str:
        """Return the report as JSON text for result.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n"


@dataclass(frozen=True, kw_only=True)
class BootReport(Report):
    """Findings of a boot test, with the firmware and the acceleration of the machine."""

    attempts: int
    firmware: str
    acceleration: str
    screenshot: Path | None = None
