"""Give a machine's serial console to a person: ``stagewright boot IMAGE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stagewright import run
from stagewright.vm.accel import Acceleration
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, check, prepare


@dataclass(frozen=True)
class Terminal:
    """A machine ready to start on the user's terminal: print ``notice``, then call :meth:`run`."""

    command: list[str]
    notice: str

    def run(self) -> int:
        """Start it, wait for its end and return QEMU's exit code."""
        return run.interactive(["setpriv", "--pdeathsig", "KILL", "--", *self.command])


def terminal(
    spec: MachineSpec,
    folder: Path,
    acceleration: Acceleration,
    *,
    firmware: Firmware | None = None,
    qemu: str = "",
) -> Terminal:
    """Prepare a machine whose serial port and monitor share the terminal. ``folder`` takes its UEFI variables."""
    check(spec, qemu)
    firmware = firmware or spec.find_firmware()
    folder.mkdir(parents=True, exist_ok=True)
    command = prepare(spec, acceleration, folder, ["-serial", "mon:stdio"], firmware=firmware, qemu=qemu)
    notice = (
        f"The serial console of the machine ({acceleration.name}: {acceleration.why}).\n"
        "Leave with Ctrl-A X, which ends the machine; Ctrl-A C is QEMU's monitor and back."
    )
    return Terminal(command, notice)
