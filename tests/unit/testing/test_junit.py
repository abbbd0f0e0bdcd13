"""JUnit XML of tests, checked with the schema that Jenkins and Apache Ant share."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.junit import Performed, junit
from stagewright.testing.results import MachineResult, Report, State, StepResult

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[2] / "data/junit.xsd"))
EVIL = "\x1b[31m\x00<&>]]>\ufffe\r\n\u2028é"


def step(number: int, state: State = State.PASSED, text: str = "wait for login", message: str = "") -> StepResult:
    return StepResult(number=number, text=text, machine="machine", start=1.0, seconds=2.5, state=state, message=message)


def report(*steps: StepResult, passed: bool = True) -> Report:
    machine = MachineResult(name="machine", command="qemu", console=Path("console.log"))
    return Report(name="iso", passed=passed, seconds=12.25, steps=steps, machines=(machine,))


def parsed(*tests: Performed) -> etree._Element:
    root = etree.fromstring(junit("demo", tests).encode())
    SCHEMA.assertValid(root)
    return root


def failed(reason: Reason = Reason.BOOT_FAILED) -> StagewrightError:
    return StagewrightError(reason, "the kernel panicked", detail="the last lines", hint="look")


def test_steps_are_cases_with_their_times() -> None:
    root = parsed(Performed("iso", report(step(1), step(2, text="run greet")), time=1795978083.0))
    assert dict(root.attrib) == {"name": "demo", "tests": "2", "failures": "0", "errors": "0", "time": "12.250"}
    (suite,) = root
    assert suite.get("timestamp") == "2026-11-29T18:48:03"
    cases = suite.findall("testcase")
    assert [(case.get("name"), case.get("classname"), case.get("time")) for case in cases] == [
        ("1. wait for login", "demo.iso", "2.500"),
        ("2. run greet", "demo.iso", "2.500"),
    ]


def test_a_failed_step_has_the_error_and_later_ones_are_skipped() -> None:
    steps = (step(1), step(2, State.FAILED, message="x"), step(3, State.SKIPPED))
    (suite,) = parsed(Performed("iso", report(*steps, passed=False), failed()))
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "1", "0", "1"]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type")) == ("the kernel panicked", "boot-failed")
    assert "the last lines" in (failure.text or "")


@pytest.mark.parametrize(
    ("test", "counts"),
    [
        (Performed("iso", error=failed(Reason.MISSING_TOOL)), ["1", "0", "1", "0"]),
        (Performed("iso", skipped="the stage iso failed"), ["1", "0", "0", "1"]),
        (Performed("iso", report(), failed()), ["1", "1", "0", "0"]),
        (Performed("iso", report(step(1)), failed(Reason.CONSOLE_ERRORS)), ["2", "1", "0", "0"]),
        (Performed("iso", report()), ["1", "0", "0", "0"]),
    ],
    ids=["error", "skipped", "failed without steps", "errors on the console", "passed without steps"],
)
def test_failed_skipped_and_not_performed_are_kept_apart(test: Performed, counts: list[str]) -> None:
    (suite,) = parsed(test)
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == counts


def test_characters_that_xml_does_not_permit_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "console.timed.log").write_text(f"[    0.100] {EVIL}\n", encoding="utf-8")
    error = StagewrightError(Reason.BOOT_FAILED, EVIL)
    (suite,) = parsed(
        Performed(
            "iso", report(step(1, State.FAILED, EVIL), passed=False), error, files=[tmp_path / "console.timed.log"]
        )
    )
    assert "\ufffd[31m\ufffd<&>]]>\ufffd\n\u2028é" in (suite.findtext("system-out") or "")


def test_the_files_of_a_test_are_attachments(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("boot.svg", "screen.png", "server/screen.png")]
    (suite,) = parsed(Performed("iso", report(step(1)), files=files))
    assert [one.get("value") for one in suite.findall("properties/property")] == list(map(str, files))
    assert f"[[ATTACHMENT|{tmp_path / 'screen.png'}]]" in (suite.findtext("system-out") or "")


def test_the_counts_of_all_tests_are_added() -> None:
    root = parsed(Performed("a", report(step(1))), Performed("b", report(step(1, State.FAILED)), failed()))
    assert dict(root.attrib) == {"name": "demo", "tests": "2", "failures": "1", "errors": "0", "time": "24.500"}
    assert [suite.get("id") for suite in root] == ["0", "1"]
    assert parsed().get("tests") == "0"
