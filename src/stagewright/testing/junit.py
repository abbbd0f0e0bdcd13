"""Results of tests as JUnit XML, which continuous-integration servers read.

There is no standard; the file fits the schemas of Jenkins and of Apache Ant. A test of the project is a ``testsuite``,
its steps are the ``testcase`` elements. *Failed* means that the system under test did something wrong. *Error* means
that the test could not be performed, for example because QEMU is missing. *Skipped* are steps after a failed one, and
tests whose image was not built.
"""

from __future__ import annotations

import datetime
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.results import Report, State, StepResult
from stagewright.vm.console_lines import TIMED_LOG

TAIL_LINES = 100
"""Number of lines of a console in the file."""

FAILURES = frozenset({Reason.BOOT_FAILED, Reason.CONSOLE_ERRORS, Reason.BUILD_FAILED})
"""Reasons of errors for which the system under test is responsible."""

_ILLEGAL = re.compile(r"[^\x09\x0a\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2; and \r


@dataclass(frozen=True)
class Performed:
    """A test with its result.

    ``report`` is None if it did not start. ``error`` is that of a failed test. ``skipped`` is the reason why it was
    not performed. ``files`` are pictures, consoles and reports. ``time`` is seconds since the epoch.
    """

    name: str
    report: Report | None = None
    error: StagewrightError | None = None
    skipped: str = ""
    files: Sequence[Path] = ()
    time: float = 0.0
    remarks: Sequence[str] = ()


@dataclass
class _Counts:
    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def add(self, other: _Counts) -> None:
        """Add the counts of a suite."""
        self.tests += other.tests
        self.failures += other.failures
        self.errors += other.errors
        self.skipped += other.skipped
        self.seconds += other.seconds

    def attributes(self) -> dict[str, str]:
        """Return the attributes of an element."""
        names = ("tests", "failures", "errors", "skipped")
        return {**{name: str(getattr(self, name)) for name in names}, "time": f"{self.seconds:.3f}"}


@dataclass
class _Suite:
    """The element of one test, which counts what is added to it."""

    project: str
    name: str
    element: ET.Element = field(default_factory=lambda: ET.Element("testsuite"))
    counts: _Counts = field(default_factory=_Counts)

    def case(self, name: str, seconds: float = 0.0) -> ET.Element:
        """Add a test case."""
        self.counts.tests += 1
        attributes = {"name": _legal(name), "classname": f"{self.project}.{self.name}", "time": f"{seconds:.3f}"}
        return ET.SubElement(self.element, "testcase", attributes)

    def problem(self, case: ET.Element, error: StagewrightError) -> None:
        """Add an error to a case, as a failure of the system or as an error of the test."""
        failed = error.reason in FAILURES
        self.counts.failures += failed
        self.counts.errors += not failed
        attributes = {"message": _legal(error.message), "type": error.reason.value}
        ET.SubElement(case, "failure" if failed else "error", attributes).text = _legal(str(error))

    def skip(self, case: ET.Element, why: str) -> None:
        """Mark a case as skipped."""
        self.counts.skipped += 1
        ET.SubElement(case, "skipped", {"message": _legal(why)})


def junit(project: str, tests: Sequence[Performed]) -> str:
    """Return the XML of a project's tests."""
    total = _Counts()
    root = ET.Element("testsuites")
    for number, test in enumerate(tests):
        suite = _suite(project, test)
        total.add(suite.counts)
        moment = datetime.datetime.fromtimestamp(test.time, datetime.UTC)
        place = {"name": test.name, "package": project, "id": str(number), "hostname": "localhost"}
        suite.element.attrib.update({**place, "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}", **suite.counts.attributes()})
        root.append(suite.element)
    counts = {name: value for name, value in total.attributes().items() if name != "skipped"}  # not in Jenkins' schema
    root.attrib.update({"name": project, **counts})
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(project: str, test: Performed) -> _Suite:
    suite = _Suite(project, test.name)
    _properties(suite.element, test)
    steps = test.report.steps if test.report else ()
    for step in steps:
        _step(suite, step, test)
    shown = any(step.state is State.FAILED for step in steps)
    if test.skipped:
        suite.skip(suite.case("the test"), test.skipped)
    elif test.error and not shown:  # it did not start, ended between steps, or its console has errors
        name = "the console" if test.error.reason is Reason.CONSOLE_ERRORS else "the test"
        suite.problem(suite.case(name), test.error)
    elif not steps:
        suite.case("the test", test.report.seconds if test.report else 0.0)
    suite.counts.seconds = test.report.seconds if test.report else 0.0
    ET.SubElement(suite.element, "system-out").text = _legal("\n".join(_output(test)))
    ET.SubElement(suite.element, "system-err").text = _legal("\n".join(test.remarks))
    return suite


def _step(suite: _Suite, step: StepResult, test: Performed) -> None:
    case = suite.case(f"{step.number}. {step.text}", step.seconds)
    if step.state is State.FAILED:
        error = test.error or StagewrightError(Reason.BOOT_FAILED, step.message)
        suite.problem(case, error)
    elif step.state is State.SKIPPED:
        suite.skip(case, "an earlier step failed")


def _properties(element: ET.Element, test: Performed) -> None:
    properties = ET.SubElement(element, "properties")
    for path in test.files:
        ET.SubElement(properties, "property", {"name": "attachment", "value": _legal(str(path))})


def _output(test: Performed) -> Iterator[str]:
    """Yield the last lines of each console, and the files. Jenkins shows files that are named in this form."""
    for path in test.files:
        if path.name == TIMED_LOG:
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            yield from (f"{path}:", *lines[-TAIL_LINES - 1 : -1])
    yield from (f"[[ATTACHMENT|{path}]]" for path in test.files)


def _legal(text: str) -> str:
    """Return the text without characters that XML does not permit."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
