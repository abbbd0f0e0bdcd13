"""Boot tests with a program that acts as QEMU."""

import json
from pathlib import Path

from stagewright.testing.boot import boot
from stagewright.testing.results import Report
from stagewright.testing.script import BootScript
from stagewright.vm import accel
from stagewright.vm.machine_spec import MachineSpec

TCG = accel.tcg("test")
BIOS = MachineSpec(firmware="bios")
LOGIN = ["Linux version 6.18 #1 SMP\r\nlive login: ", ["root\n"], "Password: ", ["secret\n"], "\r\nlive ~ # ", "shell"]


def play(stage: Path, script: BootScript, *scenes: object, spec: MachineSpec = BIOS, **more: object) -> Report:
    (stage / "scenes.json").write_text(json.dumps(scenes), encoding="utf-8")
    return boot(spec, script, stage / "out", TCG, qemu=str(stage / "qemu-fake"), **more)  # type: ignore[arg-type]
