"""A guest as a test sees it: what a person does at its console, as methods.

A guest is a virtual machine (``machine.py``) or a container (``container.py``). The names of the methods are those of
NixOS' test driver where it has the same (docs/testing.md).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.folders import folder_from, folder_to, is_folder
from stagewright.testing.results import MachineResult
from stagewright.testing.services import has_file, is_listening, wait_for_unit
from stagewright.testing.timeline import ONLY, Timeline
from stagewright.testing.transfer import copy_from, copy_to
from stagewright.vm.console import TAIL_LINES, Console, shorten
from stagewright.vm.console_connection import connect
from stagewright.vm.console_scan import Scan, described, explained, scan
from stagewright.vm.known_failures import KNOWN_FAILURES
from stagewright.vm.units import units_of

PROMPT = r"[#$] ?$"
"""Pattern of a shell prompt."""

LOGIN_PROMPT, PASSWORD_PROMPT = r"login: ?", r"[Pp]assword: ?"

FILES = "files"
"""Folder for files that are copied from a guest, in the folder of the test."""

_MEMORY = 'while read -r name rest; do case $name in MemAvailable:) echo "$name $rest" ;; esac; done < /proc/meminfo'
_LOGIN_TIMEOUT = r"login: timed out after \d+ seconds"
_NUDGE = 10.0  # seconds without a prompt before Enter is pressed
_ANSWER = 10.0  # seconds
_NEVER = re.compile(r"(?!)")


class Guest:
    """A running system with a console.

    ``timeout`` is in seconds everywhere; the default is what is left of the time of the test. Methods raise
    :class:`StagewrightError` with the reason ``BOOT_FAILED``: it says which step failed, and has the end of the
    console. Methods that need a shell log in again if the guest has rebooted since the last login.
    """

    def __init__(self, timeline: Timeline, folder: Path, *, name: str = ONLY) -> None:
        self.name = name
        self.folder = folder
        self.timeline = timeline
        self.prompt = PROMPT
        self.milestones: dict[str, float] = {}
        self.memory_available: int | None = None
        self.expected: list[str] = []
        self._account: tuple[str, str] | None = None
        self._has_shell = False

    @property
    def console(self) -> Console:
        """Console of the guest."""
        raise NotImplementedError

    # waiting

    def wait_for_console_text(self, pattern: str, timeout: float | None = None) -> re.Match[str]:
        """Wait until the console shows a regular expression, after the last text that was waited for."""
        with self.step(f"wait for {pattern}"):
            return self._await(pattern, timeout)

    def wait_for_prompt(self, timeout: float | None = None) -> None:
        """Wait for a shell prompt on the console, for guests that log in by themselves."""
        with self.step("wait for a shell prompt"):
            self._await_prompt(timeout, again=True)

    def login(self, user: str = "root", password: str = "", timeout: float | None = None) -> None:
        """Log in on the console."""
        with self.step("log in"):
            self._account = (user, password)
            # the last match, like "login:", may be in the line of the prompt
            self._enter_account(timeout, again=True)
            self._await_prompt(timeout, again=False)

    # commands

    def execute(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a command in the shell of the guest. Return its exit status and its output."""
        with self.step(f"run {shorten(command)}"):
            return self._noted(command, timeout)

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Run commands that must succeed. Return their output."""
        outputs = []
        for command in commands:
            with self.step(f"run {shorten(command)}"):
                status, output = self._noted(command, timeout)
                if status:
                    raise self._wrong(command, f"wrong exit status (found {status}, expected 0)", output)
                outputs.append(output)
        return "\n".join(outputs)

    def fail(self, *commands: str, timeout: float | None = None) -> str:
        """Run commands that must fail. Return their output."""
        outputs = []
        for command in commands:
            with self.step(f"run {shorten(command)}"):
                status, output = self._noted(command, timeout)
                if not status:
                    raise self._wrong(command, "it succeeded, but must fail", output)
                outputs.append(output)
        return "\n".join(outputs)

    def wait_until_succeeds(self, command: str, timeout: float | None = None) -> str:
        """Repeat a command each second until it succeeds. Return its output."""
        return self._repeat(command, timeout, succeeds=True)

    def wait_until_fails(self, command: str, timeout: float | None = None) -> str:
        """Repeat a command each second until it fails. Return its output."""
        return self._repeat(command, timeout, succeeds=False)

    def check(self, command: str, *, status: int = 0, expect: str = "", timeout: float | None = None) -> str:
        """Run a command that must end with a status, with a regular expression in its output. Return the output."""
        with self.step(f"run {shorten(command)}"):
            found, output = self._noted(command, timeout)
            if found != status:
                raise self._wrong(command, f"wrong exit status (found {found}, expected {status})", output)
            if expect and not re.search(expect, output, re.MULTILINE):
                raise self._wrong(command, f"/{expect}/ not found in its output", output)
            return output

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a command as a part of another step. Return its exit status and its output."""
        self.require_shell(timeout)
        return self.console.run(command, self.timeline.left(timeout))

    def _noted(self, command: str, timeout: float | None) -> tuple[int, str]:
        status, output = self.run(command, timeout)
        self.milestones.setdefault(shorten(command), self._now())
        return status, output

    # services and files

    def wait_for_unit(self, name: str, timeout: float | None = None) -> None:
        """Wait until a unit of systemd is active, or a service of OpenRC is started.

        If it has failed, the error comes at once, with the end of its journal.
        """
        with self.step(f"wait for unit {name}"):
            wait_for_unit(self, name, timeout)

    def wait_for_open_port(self, port: int, timeout: float | None = None) -> None:
        """Wait until a process in the guest listens on a TCP port."""
        with self.step(f"wait for port {port}"):
            self.wait_until(f"port {port}", lambda: is_listening(self, port, _each(timeout)), timeout)

    def wait_for_closed_port(self, port: int, timeout: float | None = None) -> None:
        """Wait until no process in the guest listens on a TCP port."""
        with self.step(f"wait until port {port} is closed"):
            self.wait_until(f"port {port} to close", lambda: not is_listening(self, port, _each(timeout)), timeout)

    def wait_for_file(self, path: str, timeout: float | None = None) -> None:
        """Wait until a file or folder exists in the guest."""
        with self.step(f"wait for file {path}"):
            self.wait_until(f"the file {path}", lambda: has_file(self, path, _each(timeout)), timeout)

    def copy_to(self, source: Path | str, target: str, timeout: float | None = None) -> None:
        """Copy a file of this computer to a path in the guest, or the content of a folder into a folder there."""
        copy = folder_to if Path(source).is_dir() else type(self).put
        with self.step(f"copy {Path(source).name} to {target}"):
            copy(self, Path(source), target, timeout)

    def copy_from(self, source: str, target: Path | str = "", timeout: float | None = None) -> Path:
        """Copy a file or a folder of the guest to this computer, and return its path.

        A relative path is in the folder ``files`` of the test's results; the default is the name of the file.
        """
        path = self.folder / FILES / (target or source.rstrip("/").rpartition("/")[2])
        with self.step(f"copy {source} from the guest"):
            copy = folder_from if is_folder(self, source, timeout) else type(self).get
            copy(self, source, path, timeout)
        return path

    def put(self, source: Path, target: str, timeout: float | None = None) -> None:
        """Copy a file to the guest as a part of a step."""
        copy_to(self, source, target, timeout)

    def get(self, source: str, target: Path, timeout: float | None = None) -> None:
        """Copy a file of the guest as a part of a step."""
        copy_from(self, source, target, timeout)

    def ask(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a command as a part of a copy. Return its exit status and its output."""
        return self.run(command, timeout)

    # typing

    def console_interact(self) -> None:
        """Connect the terminal of this process to the console, until Ctrl-] is typed: for ``--interactive``.

        Raises: USAGE if there is no terminal.
        """
        connect(self.console)

    def type(self, text: str) -> None:
        """Type on the console. A line ends with ``\\n``."""
        with self.step(f"type {shorten(text)!r}"):
            self.console.send(text)

    def shutdown(self, timeout: float | None = None) -> None:
        """Shut the guest down, by its shell or else from outside, and wait for its end."""
        with self.step("poweroff"):
            if self._has_shell:
                self.console.send("poweroff\n")
            else:
                self.press_power()
            if not self.console.wait_end(self.timeline.left(timeout)):
                raise self.console.error("timed out", "the guest's shutdown")
            self._has_shell = False
            self.milestones["off"] = self._now()

    def press_power(self) -> None:
        """Ask the guest from outside to shut down."""
        raise NotImplementedError

    # what steps are made of

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Record the work of a block as one step of the test."""
        with self.timeline.step(self.name, text, self._explained):
            yield

    @contextlib.contextmanager
    def subtest(self, title: str) -> Iterator[None]:
        """Put a title before the texts of the steps of a block."""
        with self.timeline.group(title):
            yield

    def wait_until(self, what: str, attempt: Callable[[], bool], timeout: float | None = None) -> None:
        """Repeat an attempt each second until it returns True. ``what`` describes the goal in errors."""
        begin = time.monotonic()
        end = begin + self.timeline.left(timeout)
        while not attempt():
            left = end - time.monotonic()
            if left <= 0:
                raise self.console.error(f"timed out after {time.monotonic() - begin:.0f} s", what)
            self.console.look(_NEVER, min(1.0, left), what=what)  # raises if the guest fails or ends

    def require_shell(self, timeout: float | None = None) -> None:
        """Log in again, or wait for a prompt, unless there is a shell already."""
        if self._has_shell:
            return
        if self._account:
            self.login(*self._account, timeout)
        else:
            self._await_prompt(timeout, again=True)

    def result(self, landmarks: Mapping[str, str]) -> MachineResult:
        """Return what is known about the guest. ``landmarks`` are patterns of milestones that the console may show."""
        for name, pattern in landmarks.items():
            match = re.search(pattern, self.console.text)
            if match:
                self.milestones.setdefault(name, round(self.console.seconds(match.start()), 2))
        times = dict(sorted(self.milestones.items(), key=lambda item: item[1]))
        found = self.scan()
        return MachineResult(
            name=self.name,
            command=self.command_line(),
            console=self.folder / "console.log",
            start=round(self.console.started - self.timeline.started, 2),
            milestones=times,
            memory_available=self.memory_available,
            findings=found.findings,
            findings_dropped=found.dropped,
            units=tuple(units_of(self.console.lines)),
        )

    def scan(self) -> Scan:
        """Return the known failures on the console. A text that the test waited for is not one."""
        return scan(self.console.lines, (*self.timeline.failures, *KNOWN_FAILURES), self.expected)

    def command_line(self) -> str:
        """Return the command that started the guest."""
        raise NotImplementedError

    def tail(self) -> str:
        """Return the last lines of the console."""
        return self.console.tail()

    def picture(self) -> Path | None:
        """Return the path of a new picture of the screen; None if the guest does not have a screen."""
        return None

    def _now(self) -> float:
        return round(time.monotonic() - self.console.started, 2)

    def _await(self, pattern: str, timeout: float | None, *, name: str = "", again: bool = False) -> re.Match[str]:
        what = f"the {name}" if name else f"/{pattern}/"
        compiled = re.compile(pattern, re.MULTILINE)
        self.expected.append(pattern)
        match = self.console.expect(compiled, self.timeline.left(timeout), what=what, again=again)
        self.milestones.setdefault(name or pattern, round(self.console.seconds(match.end() - 1), 2))
        return match

    def _enter_account(self, timeout: float | None, *, again: bool) -> None:
        """Wait for the login prompt, and type the account that the guest is used with."""
        user, password = self._account or ("", "")
        self._await(LOGIN_PROMPT, timeout, name="login prompt", again=again)
        self.console.send(user + "\n")
        if password:
            self._await(PASSWORD_PROMPT, timeout, name="password prompt")
            self.console.send(password + "\n")

    def _await_prompt(self, timeout: float | None, *, again: bool) -> None:
        """Wait for the shell. Kernel messages can hide a prompt, so press Enter from time to time for a new one.

        login(1) of a slow guest gives up after a minute. Then log in again.
        """
        ends = rf"(?P<prompt>{self.prompt})|Login incorrect|(?P<late>{_LOGIN_TIMEOUT})"
        console, pattern = self.console, re.compile(ends, re.MULTILINE)
        end = time.monotonic() + self.timeline.left(timeout)
        while True:
            left = max(end - time.monotonic(), 0)
            match = console.look(pattern, min(left, _NUDGE), what="a shell prompt", again=again)
            again = False
            if match is None and left <= _NUDGE:
                raise console.error("timed out", "a shell prompt")
            if match is None:
                console.send("\n")
            elif match["late"] and self._account:
                self._enter_account(max(end - time.monotonic(), 0), again=False)
            elif match["prompt"] is None:
                raise console.error("login failed (Login incorrect)", "a shell prompt")
            elif self._stays(match.end()):
                self.milestones.setdefault("shell", round(console.seconds(match.end() - 1), 2))
                break
        self._has_shell = True
        if self.memory_available is None:
            self.memory_available = self._memory(end)

    def _stays(self, offset: int) -> bool:
        """Return True if a line that looks like a prompt ends there. The rest of the line may arrive later."""
        time.sleep(0.2)
        return self.console.text[offset : offset + 1] in ("", "\n")

    def _memory(self, end: float) -> int | None:
        """Return MemAvailable in KiB, or None if the guest has no /proc/meminfo."""
        status, output = self.console.run(_MEMORY, max(end - time.monotonic(), 0))
        match = re.search(r"^MemAvailable:\s+(\d+) kB", output, re.MULTILINE)
        return int(match[1]) if match and status == 0 else None

    def _repeat(self, command: str, timeout: float | None, *, succeeds: bool) -> str:
        wanted = "succeeds" if succeeds else "fails"
        last: tuple[int, str] = (0, "")

        def attempt() -> bool:
            nonlocal last
            last = self.run(command, _each(timeout))
            return (last[0] == 0) is succeeds

        with self.step(f"wait until {shorten(command)} {wanted}"):
            try:
                self.wait_until(f"{shorten(command)!r} to {wanted[:-1]}", attempt, timeout)
            except StagewrightError as error:
                status, output = last
                error.detail = _joined(output and f"last output (status {status}):\n{output}", error.detail)
                raise
        return last[1]

    @staticmethod
    def _wrong(command: str, problem: str, output: str) -> StagewrightError:
        message = f"command {shorten(command)!r} in the guest: {problem}"
        return StagewrightError(Reason.BOOT_FAILED, message, detail="\n".join(output.splitlines()[-TAIL_LINES:]))

    def _explained(self, error: StagewrightError) -> StagewrightError:
        """Return the error of a step with the end of the console, known failures on it, and the paths of files."""
        tail = self.tail()
        has_tail = error.detail.splitlines()[-1:] == tail.splitlines()[-1:]
        shown = error.detail if has_tail else _joined(error.detail, tail and f"end of the console:\n{tail}")
        picture = self.picture()
        files = [f"console: {self.folder / 'console.log'}", *([f"screen: {picture}"] if picture else [])]
        found = self.scan().findings
        shown_files = [] if self.timeline.name else files  # the engine knows where a build keeps them
        detail = _joined(shown, *described(found), *shown_files)
        return explained(error, found if has_tail else (), detail)  # other errors are not about the console


def _each(timeout: float | None) -> float | None:
    """Return the limit of one of several attempts: one that has begun gets some seconds for its answer."""
    return None if timeout is None else max(timeout, _ANSWER)


def _joined(*parts: str) -> str:
    return "\n".join(filter(None, parts))
