"""The units in packaging/systemd: systemd reads them without a remark."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "packaging" / "systemd").glob("*.service"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT TESTED: systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_no_remark_about_a_unit(unit: Path, tmp_path: Path) -> None:
    program = tmp_path / "stagewright"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    text = unit.read_text(encoding="utf-8")
    assert "ExecStart=stagewright " in text  # found in systemd's PATH; systemd-analyze asks that it is installed
    copy = tmp_path / unit.name
    copy.write_text(text.replace("ExecStart=stagewright ", f"ExecStart={program} "), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
