"""The boot test: start an image, wait for what it should say, log in, run commands, switch it off.

A folder keeps the evidence whatever happened: ``console.log`` (raw), ``screen.png``, ``qemu.log`` and ``result.json``;
``console-1.log`` is the first attempt where a second one was needed.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.vm import firmware as uefi
from stagewright.vm.accel import Acceleration
from stagewright.vm.console import FAILURES, NOTHING_LOADED, TAIL_LINES, Console, Failure, shorten
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine import Machine
from stagewright.vm.script import BootCommand, BootReport, BootScript
from stagewright.vm.spec import QEMU, MachineSpec, check

EMULATOR_PANIC = "IO-APIC + timer doesn't work!"
"""A panic of Linux in a virtual processor that got no time at the wrong moment: it says nothing about the image."""

LANDMARKS = {
    "firmware": r"BdsDxe: starting|SeaBIOS \(version|iPXE",
    "kernel": r"Linux version \d",
    "initramfs": r"Run /init as init process",
    "switch-root": r"Switching root|switch_root|Switch(ed|ing) to new root",
}
"""Milestones that are noted in passing when a console shows them."""

_NUDGE = 10.0  # seconds without a prompt before Enter is pressed


def boot(
    spec: MachineSpec,
    script: BootScript,
    folder: Path,
    acceleration: Acceleration,
    on_phase: Callable[[str], None] = lambda phase: None,
    *,
    firmware: Firmware | None = None,
    qemu: str = QEMU,
) -> BootReport:
    """Boot a machine and put it through a script.

    ``firmware`` defaults to the first that fits, for a machine with UEFI. One known panic of the emulator is worth a
    second attempt. Raises ``BOOT_FAILED`` with the end of the console, or what keeps QEMU from starting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "screen.png", "console.log", "console-1.log", "qemu.log"):
        (folder / name).unlink(missing_ok=True)
    check(spec, qemu)
    if spec.firmware == "uefi" and firmware is None:
        firmware = uefi.find(uefi.machine_type("q35", qemu), architecture=spec.architecture)
    attempt = _Attempt(spec, script, folder, acceleration, on_phase, firmware, qemu, number=1)
    try:
        attempt.make()
    except StagewrightError:
        if EMULATOR_PANIC not in attempt.text:
            raise
        (folder / "console.log").rename(folder / "console-1.log")
        on_phase("again, after a panic of the emulator's timer")
        attempt = dataclasses.replace(attempt, number=2)
        attempt.make()
    return attempt.report()


@dataclass
class _Attempt:
    """One try at a boot, and what it found so far."""

    spec: MachineSpec
    script: BootScript
    folder: Path
    acceleration: Acceleration
    on_phase: Callable[[str], None]
    firmware: Firmware | None
    qemu: str
    number: int

    def __post_init__(self) -> None:
        self.text = ""
        self.milestones: dict[str, float] = {}
        self.memory: int | None = None
        self.screenshot: Path | None = None
        self.seconds = 0.0
        self.command: list[str] = []

    def make(self) -> None:
        """Boot, and leave result.json behind whether that went well or not."""
        try:
            self._boot()
        except StagewrightError as error:
            (self.folder / "result.json").write_text(self.report(error.message).to_json())
            raise
        (self.folder / "result.json").write_text(self.report().to_json())

    def report(self, error: str = "") -> BootReport:
        """What is known now."""
        builtin = "SeaBIOS" if self.spec.firmware == "bios" else "none"
        return BootReport(
            passed=not error,
            seconds=round(self.seconds, 2),
            milestones=dict(sorted(self.milestones.items(), key=lambda item: item[1])),
            attempts=self.number,
            firmware=str(self.firmware.code) if self.firmware else builtin,
            acceleration=self.acceleration.name,
            acceleration_why=self.acceleration.why,
            command=run.paste(self.command),
            console=self.folder / "console.log",
            screenshot=self.screenshot,
            memory_available=self.memory,
            error=error,
        )

    def _boot(self) -> None:
        self.on_phase("start")
        end = time.monotonic() + self.script.seconds
        with Machine(self.spec, self.acceleration, self.folder, firmware=self.firmware, qemu=self.qemu) as machine:
            self.command = machine.command
            machine.console.failures = _failures(self.spec)
            try:
                self._follow(machine, end)
            finally:
                self._photograph(machine)
                self._note(machine.console)

    def _follow(self, machine: Machine, end: float) -> None:
        console, script = machine.console, self.script
        for pattern in script.expect:
            self.on_phase(f"wait for {pattern}")
            self._await(console, pattern, end)
        if script.needs_shell:
            self._log_in(console, end)
            self.memory = _memory(console, end)
        for command in script.commands:
            self.on_phase(f"run {shorten(command.run)}")
            self._command(console, command, end)
        self._photograph(machine)  # now, since a machine that was switched off has no screen
        if script.poweroff:
            self.on_phase("poweroff")
            self._power_off(machine, end)

    def _await(self, console: Console, pattern: str, end: float, *, name: str = "", again: bool = False) -> None:
        left = max(end - time.monotonic(), 0)
        what = f"the {name}" if name else f"/{pattern}/"
        match = console.expect(re.compile(pattern, re.MULTILINE), left, what=what, again=again)
        self.milestones[name or pattern] = round(console.seconds(match.end() - 1), 2)

    def _log_in(self, console: Console, end: float) -> None:
        login = self.script.login
        if login:
            self.on_phase("log in")
            # an expectation such as "login:" may stand in the very line of the prompt
            self._await(console, login.login_prompt, end, name="login prompt", again=True)
            console.send(login.user + "\n")
            if login.password:
                self._await(console, login.password_prompt, end, name="password prompt")
                console.send(login.password + "\n")
        self._await_prompt(console, end, again=login is None)

    def _await_prompt(self, console: Console, end: float, *, again: bool) -> None:
        """Wait for the shell. Kernel messages may hide a prompt, so press Enter now and then for a new one."""
        pattern = re.compile(rf"(?P<prompt>{self.script.prompt})|Login incorrect", re.MULTILINE)
        while True:
            left = max(end - time.monotonic(), 0)
            match = console.look(pattern, min(left, _NUDGE), what="a shell prompt", again=again)
            again = False
            if match is None and left <= _NUDGE:
                raise console.error("no prompt came in time", "a shell prompt")
            if match is None:
                console.send("\n")
            elif match["prompt"] is None:
                raise console.error("the login was refused", "a shell prompt")
            elif self._stays(console, match.end()):
                self.milestones["shell"] = round(console.seconds(match.end() - 1), 2)
                return

    @staticmethod
    def _stays(console: Console, offset: int) -> bool:
        """Whether a line that ended like a prompt really ends there: its rest may still have been under way."""
        time.sleep(0.2)
        return console.text[offset : offset + 1] in ("", "\n")

    def _command(self, console: Console, command: BootCommand, end: float) -> None:
        status, output = console.run(command.run, max(end - time.monotonic(), 0))
        self.milestones[shorten(command.run)] = round(time.monotonic() - console.started, 2)
        if status != command.status:
            problem = f"exit status {status} instead of {command.status}"
        elif command.expect and not re.search(command.expect, output, re.MULTILINE):
            problem = f"its output does not hold /{command.expect}/"
        else:
            return
        told = "\n".join(output.splitlines()[-TAIL_LINES:])
        raise StagewrightError(Reason.BOOT_FAILED, f"in the guest, {shorten(command.run)!r}: {problem}", detail=told)

    def _power_off(self, machine: Machine, end: float) -> None:
        if self.script.needs_shell:
            machine.console.send("poweroff\n")
        else:
            machine.powerdown()
        if not machine.console.wait_end(max(end - time.monotonic(), 0)):
            raise StagewrightError(
                Reason.BOOT_FAILED, "the guest did not switch itself off in time", detail=machine.console.tail()
            )
        self.milestones["off"] = round(time.monotonic() - machine.console.started, 2)

    def _photograph(self, machine: Machine) -> None:
        """Keep a picture of the screen once; a machine that is gone has none, which is no failure of its own."""
        if self.screenshot is None and machine.running():
            try:
                self.screenshot = machine.screenshot(self.folder / "screen.png")
            except StagewrightError as error:
                self.on_phase(error.message)

    def _note(self, console: Console) -> None:
        """Fill in what the console showed in passing."""
        self.text = console.text
        self.seconds = time.monotonic() - console.started
        for name, pattern in LANDMARKS.items():
            match = re.search(pattern, self.text)
            if match:
                self.milestones.setdefault(name, round(console.seconds(match.start()), 2))


def _failures(spec: MachineSpec) -> tuple[Failure, ...]:
    """With several things to boot from, firmware that cannot load one goes on to the next."""
    return tuple(failure for failure in FAILURES if failure is not NOTHING_LOADED or spec.boot_options() < 2)


def _memory(console: Console, end: float) -> int | None:
    """MemAvailable in KiB, where the guest has /proc/meminfo."""
    status, output = console.run("cat /proc/meminfo", max(end - time.monotonic(), 0))
    match = re.search(r"^MemAvailable:\s+(\d+) kB", output, re.MULTILINE)
    return int(match[1]) if match and status == 0 else None
