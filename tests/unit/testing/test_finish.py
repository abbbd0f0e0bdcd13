"""Findings, chart and report at the end of a test, after success and failure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from plays import play

from stagewright.errors import StagewrightError
from stagewright.testing.finish import chart_of
from stagewright.testing.results import MachineResult, Report, State, StepResult
from stagewright.testing.script import BootScript
from stagewright.vm.console_scan import Finding
from stagewright.vm.failures import Failure
from stagewright.vm.units import Unit

ERROR = "[   18.0] I/O error, dev sr0, sector 164032\r\n"


def test_errors_on_the_console_of_a_test_that_passed_are_in_its_report(stage: Path) -> None:
    own = Failure("the demo was slow", "demo: slow", "wait")
    script = BootScript(expect=("up", "Oops: expected"), seconds=60, failures=(own,))
    scene = ["up\r\ndemo: slow\r\n", ERROR, "Oops: expected\r\n", "stay"]
    report = play(stage, script, scene)
    assert [(one.text, one.part) for one in report.machine.findings] == [
        ("demo: slow", "project"),
        ("I/O error, dev sr0, sector 164032", "storage"),
    ]
    data = json.loads((stage / "out/result.json").read_text(encoding="utf-8"))
    assert data["format"] == 1
    assert data["findings"][0]["meaning"] == "the demo was slow"
    assert Report.from_dict(data) == report
    assert report.chart == stage / "out/boot.svg"
    assert "the demo was slow" in (stage / "out/boot.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_step_that_fails_has_the_meaning_of_what_the_console_says(stage: Path) -> None:
    scene = ["dracut Warning: /dev/disk/by-label/LIVE does not exist\r\n"]
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(expect=("login:",), seconds=600), scene)
    error = caught.value
    assert error.message.startswith("step 2 (wait for login:): the machine ended while waiting for /login:/ ")
    assert error.message.endswith("(the console shows that the root device did not appear)")
    assert "known failures on the console:\n  line 1, " in error.detail
    assert error.hint.startswith("compare root= with the label of the medium")
    assert ET.parse(stage / "out/boot.svg").getroot() is not None


@pytest.mark.slow
def test_a_final_failure_of_the_project_ends_a_test(stage: Path) -> None:
    own = Failure("the licence expired", "^demo: no licence", "renew it", final=True)
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(expect=("login:",), seconds=600, failures=(own,)), ["demo: no licence\r\n", "stay"])
    assert "the licence expired (demo: no licence) while waiting" in caught.value.message
    assert caught.value.hint == "renew it"


def test_the_chart_of_several_machines_has_one_time_axis() -> None:
    error = Finding(3, 1.0, "Oops: 0", "the kernel crashed", "look", "kernel")
    unit = Unit("sshd.service", 0.5, 1.5)
    machines = [
        MachineResult(name="server", command="qemu", console=Path("a"), milestones={"kernel": 2.0}),
        MachineResult(name="client", command="qemu", console=Path("b"), start=10.0, findings=(error,), units=(unit,)),
        MachineResult(name="unused", command="", console=Path("c")),
    ]
    steps = [
        StepResult(number=1, text="start", machine="server", start=0.0, seconds=1.0, state=State.PASSED),
        StepResult(number=2, text="wait", machine="client", start=10.0, seconds=2.0, state=State.FAILED),
        StepResult(number=3, text="never", machine="client", start=12.0, seconds=0.0, state=State.SKIPPED),
    ]
    text = chart_of(Report(name="lan", passed=False, seconds=20.0, steps=tuple(steps), machines=tuple(machines)))
    for shown in ("lan: failed after 20.0 s", "boot of server", "boot of client", "client: wait (2.00 s)"):
        assert shown in text
    assert "sshd.service: 10.50 s to 11.50 s" in text
    assert "the kernel crashed (at 11.00 s)" in text
    assert "never" not in text
    assert "boot of unused" not in text
