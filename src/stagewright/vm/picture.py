"""Take a picture of a machine's screen: after a time, or when its console has shown a text."""

from __future__ import annotations

import re
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.accel import Acceleration
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec


def take_picture(
    spec: MachineSpec, folder: Path, acceleration: Acceleration, target: Path, *, seconds: float, text: str = ""
) -> None:
    """Start a machine, save its screen as PNG, and stop it.

    With ``text``, a regular expression, the picture is taken when the serial console shows it; ``seconds`` is the
    limit then. Raises ``BOOT_FAILED`` with the end of the console.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise StagewrightError(Reason.USAGE, f"invalid regular expression {text!r}: {error}") from error
    with Machine(spec, acceleration, folder, firmware=spec.find_firmware()) as machine:
        if text:
            machine.console.expect(pattern, seconds)
        elif machine.console.wait_end(seconds):
            raise machine.console.error("the machine ended", "the time of the picture")
        machine.screenshot(target)
