"""The boot test: start an image, wait for its messages, log in, run commands, shut it down.

After success and failure alike, a folder has ``console.log`` (raw), ``console.timed.log`` (lines with times),
``screen.png``, ``qemu.log`` and ``result.json``. ``console-1.log`` is that of the first attempt, if there was a second
one.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stagewright import run
from stagewright.errors import StagewrightError
from stagewright.vm.accel import Acceleration
from stagewright.vm.console import Console
from stagewright.vm.console_lines import TIMED_LOG
from stagewright.vm.failures import Failure
from stagewright.vm.firmware import Firmware
from stagewright.vm.known_failures import FINAL_FAILURES, NEEDS_ONE_BOOT_OPTION
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec, check
from stagewright.vm.script import BootReport, BootScript
from stagewright.vm.script_run import ScriptRun

EMULATOR_PANIC = "IO-APIC + timer doesn't work!"
"""Panic of Linux if the virtual processor was not scheduled at a critical moment. The image does not cause it."""

MENU = r"BdsDxe: starting|GNU GRUB|(ISO|SYS)LINUX \d"
"""Pattern of serial output with a boot menu, or shortly before one."""

_LOGS = ("console.log", TIMED_LOG)
_SETTLE, _BETWEEN = 2.0, 0.3  # seconds until a menu accepts keys, and between keys
_DOWN, _ENTER = "\x1b[B", "\r"

LANDMARKS = {
    "firmware": r"BdsDxe: starting|SeaBIOS \(version|iPXE",
    "kernel": r"Linux version \d",
    "initramfs": r"Run /init as init process",
    "switch-root": r"Switching root|switch_root|Switch(ed|ing) to new root",
}
"""Milestones that are recorded if the console shows them."""


def boot(
    spec: MachineSpec,
    script: BootScript,
    folder: Path,
    acceleration: Acceleration,
    on_phase: Callable[[str], None] = lambda phase: None,
    *,
    firmware: Firmware | None = None,
    qemu: str = "",
) -> BootReport:
    """Boot a machine and run a script in it.

    The default ``firmware`` of a machine with UEFI is the first match. After one known panic of the emulator, the boot
    is repeated once. Raises ``BOOT_FAILED`` with the end of the console, or the errors of :class:`Machine`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "screen.png", *_LOGS, *map(_of_first, _LOGS), "qemu.log"):
        (folder / name).unlink(missing_ok=True)
    check(spec, qemu)
    firmware = firmware or spec.find_firmware()
    attempt = _Attempt(spec, script, folder, acceleration, on_phase, firmware, qemu, number=1)
    try:
        attempt.make()
    except StagewrightError:
        if EMULATOR_PANIC not in attempt.script_run.text:
            raise
        for name in _LOGS:
            (folder / name).rename(folder / _of_first(name))
        on_phase("repeat after a panic caused by the emulator")
        attempt = dataclasses.replace(attempt, number=2)
        attempt.make()
    return attempt.report()


@dataclass
class _Attempt:
    """An attempt at a boot and its findings so far."""

    spec: MachineSpec
    script: BootScript
    folder: Path
    acceleration: Acceleration
    on_phase: Callable[[str], None]
    firmware: Firmware | None
    qemu: str
    number: int

    def __post_init__(self) -> None:
        self.script_run = ScriptRun(self.script, self.on_phase, LANDMARKS)
        self.screenshot: Path | None = None
        self.command: list[str] = []

    def make(self) -> None:
        """Boot, and write result.json after success and failure."""
        try:
            self._boot()
        except StagewrightError as error:
            (self.folder / "result.json").write_text(self.report(error.message).to_json(), encoding="utf-8")
            raise
        (self.folder / "result.json").write_text(self.report().to_json(), encoding="utf-8")

    def report(self, error: str = "") -> BootReport:
        """Return the report with the current findings."""
        builtin = "SeaBIOS" if self.spec.firmware == "bios" else "none"
        return BootReport(
            passed=not error,
            **self.script_run.findings(),
            attempts=self.number,
            firmware=str(self.firmware.code) if self.firmware else builtin,
            acceleration=self.acceleration.name,
            command=run.paste(self.command),
            console=self.folder / "console.log",
            screenshot=self.screenshot,
            error=error,
        )

    def _boot(self) -> None:
        self.on_phase("start")
        end = time.monotonic() + self.script.seconds
        with Machine(self.spec, self.acceleration, self.folder, firmware=self.firmware, qemu=self.qemu) as machine:
            self.command = machine.command
            machine.console.failures = _failures(self.spec)
            try:
                if self.script.entry > 1:
                    self._choose(machine.console, end)
                # the screenshot is taken before the machine is off, because then it has no screen
                self.script_run.run(machine, end, lambda: self._take_screenshot(machine))
            finally:
                self._take_screenshot(machine)

    def _choose(self, console: Console, end: float) -> None:
        """Choose a line of the boot menu by keys. Firmware and loaders accept keys from a serial console."""
        self.on_phase(f"choose line {self.script.entry} of the boot menu")
        console.expect(re.compile(MENU), max(end - time.monotonic(), 0), what="a boot menu")
        time.sleep(_SETTLE)
        for key in [*[_DOWN] * (self.script.entry - 1), _ENTER]:
            console.send(key)
            time.sleep(_BETWEEN)

    def _take_screenshot(self, machine: Machine) -> None:
        """Take one screenshot. If the machine has ended, there is none, and the test does not fail because of this."""
        if self.screenshot is None and machine.running():
            try:
                self.screenshot = machine.screenshot(self.folder / "screen.png")
            except StagewrightError as error:
                self.on_phase(error.message)


def _of_first(name: str) -> str:
    """Return the name of the log of the first attempt."""
    return name.replace("console", "console-1")


def _failures(spec: MachineSpec) -> tuple[Failure, ...]:
    """Return the failures to look for. With several boot options, firmware that cannot load one tries the next."""
    ignored = NEEDS_ONE_BOOT_OPTION if spec.boot_options() > 1 else ()
    return tuple(failure for failure in FINAL_FAILURES if failure not in ignored)
