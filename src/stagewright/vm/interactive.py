"""Connect a machine's serial console to the terminal: ``stagewright boot IMAGE``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagewright import run
from stagewright.vm.accel import Acceleration
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, check, command_line, prepare
from stagewright.vm.tpm import Tpm, devices
from stagewright.vm.tpm import command as tpm_command

WIRES = ("-serial", "mon:stdio")


@dataclass(frozen=True)
class Terminal:
    """A machine that is ready to start on the user's terminal. Print ``notice``, then call :meth:`run`."""

    command: list[str]
    notice: str
    spec: MachineSpec = field(default_factory=MachineSpec)
    folder: Path = Path()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> int:
        """Start the machine, wait for its end, and return QEMU's exit code. Its TPM ends with it."""
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self.command]
        with contextlib.ExitStack() as stack:
            descriptors = []
            if self.spec.tpm:
                tpm = stack.enter_context(Tpm(self.folder / "tpm", self.spec.architecture))
                command += tpm.arguments
                descriptors.append(tpm.descriptor)
            return run.interactive(command, env=self.environment, pass_fds=descriptors)


def terminal(
    spec: MachineSpec,
    folder: Path,
    acceleration: Acceleration,
    *,
    firmware: Firmware | None = None,
    qemu: str = "",
    pass_on: tuple[str, ...] = (),
) -> Terminal:
    """Prepare a machine whose serial port and monitor share the terminal.

    Its UEFI variables and the state of its TPM are in ``folder``. ``pass_on`` are variables of the environment that
    QEMU needs.
    """
    check(spec, qemu)
    firmware = firmware or spec.find_firmware()
    folder.mkdir(parents=True, exist_ok=True)
    command = prepare(spec, acceleration, folder, WIRES, firmware=firmware, qemu=qemu)
    notice = (
        f"This is the serial console of the machine ({acceleration.name}: {acceleration.why}).\n"
        "Press Ctrl-A X to end the machine, Ctrl-A C to switch between console and QEMU's monitor."
    )
    environment = {name: os.environ[name] for name in pass_on if name in os.environ}
    environment["TMPDIR"] = str(folder.resolve())  # snapshot=on keeps the guest's writes there
    return Terminal(command, notice, spec, folder, environment)


def shell_lines(spec: MachineSpec, folder: Path, acceleration: Acceleration) -> list[str]:
    """Return the lines for a shell that start a machine: its variables, its TPM, and QEMU.

    Nothing is written: the lines make the files in ``folder``.
    """
    firmware, variables = spec.find_firmware(), folder / "variables.fd"
    command = command_line(spec, acceleration, WIRES, firmware=firmware, variables=variables)
    lines: list[list[str | Path]] = [["mkdir", "-p", folder]] if firmware or spec.tpm else []
    if firmware:
        lines.append(["cp", "--update", firmware.variables, variables])
    if spec.tpm:
        socket, state = folder / "tpm.socket", folder / "tpm"
        lines += [["mkdir", "-p", state], [*tpm_command(state, f"path={socket}"), "--terminate", "--daemon"]]
        command += devices(spec.architecture, f"path={socket}")
    return [*(run.paste(line) for line in lines), run.paste(command)]
