"""What a test of a guest does and what it reports."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError


@dataclass(frozen=True)
class Login:
    """How to log in. The prompts are regular expressions."""

    user: str
    password: str = ""
    login_prompt: str = r"login: ?"
    password_prompt: str = r"[Pp]assword: ?"  # noqa: S105  a prompt


@dataclass(frozen=True)
class BootCommand:
    """A command for the guest's shell, the exit status it should have, a regular expression that its output holds."""

    run: str
    expect: str = ""
    status: int = 0


@dataclass(frozen=True)
class BootScript:
    """What a boot should show, in order. ``seconds`` is the limit for all of it, a second attempt gets as much again.

    ``expect`` and ``prompt`` are regular expressions, searched with MULTILINE. Without ``login`` the commands wait for
    a prompt (a console that logs in by itself). ``poweroff`` asks the guest to switch itself off and waits for it.
    ``entry`` is the line of the boot menu to start, counted from 1, the one that starts by itself.
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
                    Reason.INVALID_VALUE, f"not a regular expression: {pattern!r}: {error}"
                ) from error

    @property
    def needs_shell(self) -> bool:
        """Whether a shell of the guest is used."""
        return bool(self.login or self.commands)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a test of a guest found. Times are seconds from its start, memory is in KiB as in /proc/meminfo."""

    passed: bool
    seconds: float
    milestones: dict[str, float]
    command: str
    console: Path
    memory_available: int | None = None
    error: str = ""

    def to_json(self) -> str:
        """The report as it stands in result.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n"


@dataclass(frozen=True, kw_only=True)
class BootReport(Report):
    """What a boot test found besides: the firmware, and how the processor was made."""

    attempts: int
    firmware: str
    acceleration: str
    screenshot: Path | None = None
