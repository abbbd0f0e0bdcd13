"""The boot test: start machines, perform a script with them, stop them.

After success and failure alike, a folder has ``console.log`` (raw), ``console.timed.log`` (lines with times),
``screen.png``, ``qemu.log`` and ``result.json``. Each of several machines has a folder with its files in it.
``console-1.log`` is that of the first attempt, if there was a second one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path

from stagewright.errors import StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.testing.finish import CHART, finish
from stagewright.testing.lan import Lan
from stagewright.testing.machine import Machine
from stagewright.testing.perform import Hold, perform
from stagewright.testing.results import RESULT, Report
from stagewright.testing.script import BootScript
from stagewright.testing.setup import MachineSetup
from stagewright.testing.timeline import ONLY, Timeline
from stagewright.vm.accel import Acceleration
from stagewright.vm.console_lines import TIMED_LOG
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec

_EMULATOR_PANICS = ("IO-APIC + timer doesn't work!", "Oops: int3: 0000 ")
"""Panics of Linux in emulated machines that the image does not cause: the virtual processor was not scheduled at a
critical moment; or one processor ran code that the other was patching (a breakpoint, which real ones handle)."""

LANDMARKS = {
    "firmware": r"BdsDxe: starting|SeaBIOS \(version|iPXE",
    "kernel": r"Linux version \d",
    "initramfs": r"Run /init as init process",
    "switch-root": r"Switching root|switch_root|Switch(ed|ing) to new root",
}
"""Milestones that are recorded if the console shows them."""

_LOGS = ("console.log", TIMED_LOG)


def boot(
    spec: MachineSpec,
    script: BootScript,
    folder: Path,
    acceleration: Acceleration,
    on_phase: Callable[[str], None] = lambda phase: None,
    *,
    firmware: Firmware | None = None,
    qemu: str = "",
) -> Report:
    """Boot one machine and perform a script with it. The arguments are those of :class:`BootRun`."""
    setup = MachineSetup(spec, acceleration, firmware, qemu, script.entry)
    return BootRun({ONLY: setup}, script, folder, on_step=on_phase).run()


def has_emulator_panic(log: Path) -> bool:
    """Return True if the console of an emulated machine has a panic that the emulator caused."""
    return log.exists() and any(panic.encode() in log.read_bytes() for panic in _EMULATOR_PANICS)


@dataclass(frozen=True)
class BootRun:
    """A test of machines. ``files`` are the files of the project that the script names, by their path.

    ``name`` is that of the test in the project. ``on_step`` is called at the beginning of each step. ``hold`` is called
    at the end of the script while the machines still run.
    """

    setups: Mapping[str, MachineSetup]
    script: BootScript
    folder: Path
    name: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    on_step: Callable[[str], None] = lambda text: None
    hold: Hold | None = None

    def run(self) -> Report:
        """Run the test. After one known panic of the emulator, it is repeated once.

        Raises ``BOOT_FAILED`` with the end of the console, or the errors of the machine.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for place in (self.folder, *map(self._place, self.setups)):
            for name in (RESULT, CHART, *_LOGS, *map(_of_first, _LOGS), "qemu.log"):
                (place / name).unlink(missing_ok=True)
        try:
            return self._attempt(1)
        except StagewrightError:
            if self.hold or not self._has_panic():
                raise
        for log in (self._place(machine) / name for machine in self.setups for name in _LOGS):
            if log.exists():
                log.rename(log.with_name(_of_first(log.name)))
        self.on_step("repeat after a panic caused by the emulator")
        return self._attempt(2)

    def _place(self, machine: str) -> Path:
        return self.folder / machine if len(self.setups) > 1 else self.folder

    def _has_panic(self) -> bool:
        return any(
            setup.acceleration.name == "tcg" and has_emulator_panic(self._place(name) / _LOGS[0])
            for name, setup in self.setups.items()
        )

    def _attempt(self, number: int) -> Report:
        """Run the test once, and write result.json after success and failure."""
        timeline = Timeline(self.script.seconds, name=self.name, on_step=self.on_step, failures=self.script.failures)
        with contextlib.ExitStack() as stack:
            lan = stack.enter_context(Lan()) if len(self.setups) > 1 else None
            machines = {
                name: Machine(replace(setup, lan=lan), timeline, self._place(name), name=name)
                for name, setup in self.setups.items()
            }
            try:
                self._perform(machines, timeline)
            except StagewrightError as error:
                finish(self._report(number, machines, timeline, error), self.folder)
                raise
        return finish(self._report(number, machines, timeline), self.folder)

    def _perform(self, machines: Mapping[str, Machine], timeline: Timeline) -> None:
        with contextlib.ExitStack() as stack:
            for machine in machines.values():
                stack.callback(machine.stop)
            try:
                if len(machines) == 1:
                    machines[next(iter(machines))].start()
                perform(self.script, machines, timeline, self.files)
            except StagewrightError as error:
                self._hold_open(machines, timeline, error)
                raise
            self._hold_open(machines, timeline, None)

    def _hold_open(self, machines: Mapping[str, Machine], timeline: Timeline, error: StagewrightError | None) -> None:
        """Call ``hold``, if there is one. What it does is not part of the test."""
        if self.hold:
            steps = len(timeline.steps)
            self.hold(machines, error)
            del timeline.steps[steps:]

    def _report(
        self, number: int, machines: Mapping[str, Machine], timeline: Timeline, error: StagewrightError | None = None
    ) -> Report:
        return Report(
            name=self.name,
            passed=error is None,
            seconds=round(time.monotonic() - timeline.started, 2),
            steps=tuple(timeline.steps),
            machines=tuple(machine.result(LANDMARKS) for machine in machines.values()),
            attempts=number,
            error=error.message if error else "",
            detail=error.detail if error else "",
        )


def _of_first(name: str) -> str:
    """Return the name of the log of the first attempt."""
    return name.replace("console", "console-1")
