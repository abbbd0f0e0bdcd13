"""Connect a machine's serial console to the terminal: ``stagewright boot IMAGE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stagewright import run
from stagewright.vm.accel import Acceleration
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, check, prepare


@dataclass(frozen=True)
class Terminal:
    """A machine that is ready to start on the user's terminal. Print ``notice``, then call :meth:`run`."""

    command: list[str]
    notice: str

    def run(self) -> int:
        """Start the machine, wait for its end, and return QEMU's exit code."""
        return run.interactive(["setpriv", "--pdeathsig", "KILL", "--", *self.command])


def terminal(
    spec: MachineSpec,
    folder: Path,
    acceleration: Acceleration,
    *,
    firmware: Firmware | None = None,
    qemu: str = "",
) -> Terminal:
    """Prepare a machine whose serial port and monitor share the terminal. Its UEFI variables are in ``folder``."""
    check(spec, qemu)
    firmware = firmware or spec.find_firmware()
    folder.mkdir(parents=True, exist_ok=True)
    command = prepare(spec, acceleration, folder, ["-serial", "mon:stdio"], firmware=firmware, qemu=qemu)
    notice = (
        f"This is the serial console of the machine ({acceleration.name}: {acceleration.why}).\n"
        "Press Ctrl-A X to end the machine, Ctrl-A C to switch between console and QEMU's monitor."
    )
    return Terminal(command, notice)
