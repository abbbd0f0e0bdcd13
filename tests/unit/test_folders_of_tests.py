"""Consoles of tests, verdicts about them, and JUnit XML. The results are made here: no machine starts."""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stagewright.api import Session
from stagewright.cli.main import run
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.events import Event, NodeNotice, Status
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.store.meta import Meta
from stagewright.store.store import Store

ERROR = {
    "line": 7,
    "seconds": 1.2,
    "text": "I/O error, dev sr0",
    "meaning": "a disk returned an error",
    "hint": "check the disk",
    "part": "storage",
}

PROJECT = """
format = 1
project = { name = "small", version = "1", source_date_epoch = 2026-11-20 }
[seeds.base]
arch = "amd64"
file = "seed"
[tests.up]
starts = "base"
expect = ["login:"]
"""

RELEASE = """
[releases.one]
artifacts = ["pack"]
tests = ["up"]
"""

Cli = Callable[..., tuple[int, str, str]]


class Site:
    """A project with a test, and its store."""

    def __init__(self, folder: Path) -> None:
        (folder / "project/seed/etc").mkdir(parents=True)
        self.project, self.store = folder / "project", Store(folder / "store")
        self.events: list[Event] = []
        self.write()

    def write(self, more: str = "") -> None:
        """Write the project, with more settings of the test."""
        (self.project / "stagewright.toml").write_text(PROJECT + more, encoding="utf-8")

    def session(self) -> Session:
        return Session.open(self.project, store=self.store.path, listeners=[self.events.append])

    def remarks(self) -> list[str]:
        """Return the remarks about the test."""
        return [event.text for event in self.events if isinstance(event, NodeNotice) and event.node == "test:up"]

    def failed(self) -> Path:
        """Make the folder of a test that failed."""
        folder = self.store.failed(self.session().project.records, "test:up") / TEST_ARTIFACTS
        folder.mkdir(parents=True)
        return folder

    def passed(self, console: str = "", **facts: Any) -> None:
        """Put the result of a test that passed into the store."""
        session = self.session()
        session.resolve_pins()
        step = session.plan(["up"]).steps["test:up"]
        tree = self.store.new_work(step.key.digest) / "tree"
        tree.mkdir()
        (tree / "console.timed.log").write_text(console, encoding="utf-8")
        given = {"seconds": 1.5, "milestones": {}, **facts}
        meta = Meta(step.key.digest, "test:up", "starts", time.time(), 1, step.key.data, facts=given)
        self.store.commit(tree, step.node.yields, meta)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def cli(site: Site, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: str) -> tuple[int, str, str]:
        code = run(["-C", str(site.project), "--store", str(site.store.path), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_console_of_a_test_that_passed_is_shown_with_times(site: Site, cli: Cli) -> None:
    site.passed("[    0.100] hello \x1b]0;evil\x07\n")
    assert cli("log", "--times", "up") == (Exit.OK, "[    0.100] hello \\x1b]0;evil\\x07\n", "")


def test_the_console_of_a_later_run_that_failed_is_shown_instead(site: Site, cli: Cli) -> None:
    site.passed("[    0.100] first\n")
    folder = site.failed()
    (folder / "console.timed.log").write_text("[    0.200] second\n", encoding="utf-8")
    assert cli("log", "-t", "up")[1] == "[    0.200] second\n"


def test_the_console_of_a_later_run_by_hand_is_shown_instead(site: Site, cli: Cli) -> None:
    site.passed("[    0.100] first\n")
    folder = site.project / "out/tests/up"
    folder.mkdir(parents=True)
    (folder / "console.timed.log").write_text("[    0.200] second\n", encoding="utf-8")
    os.utime(folder / "console.timed.log", (time.time() + 5, time.time() + 5))
    assert cli("log", "-t", "up")[1] == "[    0.200] second\n"
    os.utime(folder / "console.timed.log", (5, 5))
    assert cli("log", "-t", "up")[1] == "[    0.100] first\n"


def test_consoles_of_several_machines_have_headings(site: Site, cli: Cli) -> None:
    folder = site.failed()
    for name in ("server", "client"):
        (folder / name).mkdir()
        (folder / name / "console.timed.log").write_text(f"[    0.200] {name}\n", encoding="utf-8")
    assert cli("log", "-t", "up")[1] == "== client\n[    0.200] client\n== server\n[    0.200] server\n"


@pytest.mark.parametrize(
    ("words", "reason", "message"),
    [
        (["base"], Reason.USAGE, "base: not a test"),
        (["up"], Reason.NOT_BUILT, "up: did not run with the present settings"),
        (["down"], Reason.UNKNOWN_NAME, "'down' is not"),
        (["up", "--follow"], Reason.USAGE, "--times: not together"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_has_no_console_is_reported(
    site: Site, cli: Cli, words: Sequence[str], reason: Reason, message: str
) -> None:
    site.session().resolve_pins()
    code, _, err = cli("log", "--times", *words)
    assert code == reason.exit
    assert message in err


# JUnit XML


def junit_of(site: Site, cli: Cli, *targets: str) -> tuple[int, ET.Element]:
    """Build, and return the exit code and the element of the test."""
    file = site.project / "tests.xml"
    code, _, _ = cli("build", "--junit", str(file), *targets)
    (suite,) = ET.parse(file).getroot()
    assert suite.get("name") == "up"
    return code, suite


def test_a_test_of_the_store_is_in_the_results(site: Site, cli: Cli) -> None:
    site.passed("[    0.100] hello\n")
    code, suite = junit_of(site, cli, "up")
    assert code == Exit.OK
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["1", "0", "0", "0"]
    assert "[    0.100] hello" in (suite.findtext("system-out") or "")
    assert suite.get("timestamp") > "2026"


def test_errors_on_the_console_are_a_failure_in_the_results(site: Site, cli: Cli) -> None:
    site.passed(findings=[ERROR])
    site.write('console = "fail"')
    code, suite = junit_of(site, cli, "up")
    assert code == Exit.FAILED
    assert suite.find("testcase").get("name") == "the console"
    assert suite.find("testcase/failure").get("type") == "console-errors"


def test_a_file_that_cannot_be_written_is_reported_before_the_build(site: Site, cli: Cli) -> None:
    code, _, err = cli("build", "--junit", str(site.project / "none/tests.xml"), "up")
    assert code == Exit.INVALID
    assert "folder not found" in err
    assert "started" not in err


# verdicts about the console: the result in the store stays, and no test runs again


def built(site: Site) -> StagewrightError | None:
    """Build the test, and return its error. Nothing may start."""
    site.events.clear()
    result = site.session().build(["up"])
    assert result.plan.to_build == []
    return result.errors.get("test:up")


def test_errors_on_the_console_fail_a_test_only_if_the_project_says_so(site: Site) -> None:
    site.passed(findings=[ERROR])
    assert built(site) is None
    site.write('console = "fail"')
    error = built(site)
    assert error is not None
    assert error.reason is Reason.CONSOLE_ERRORS
    assert error.reason.exit is Exit.FAILED
    assert "test:up: the test passed, but its console shows 1 error" in error.message
    assert "line 7, 1.2 s: I/O error, dev sr0: a disk returned an error" in error.detail
    assert "check the disk, or permit the error with `allow`" in error.hint
    assert str(site.session().result("up")) in error.hint
    site.write('console = "ignore"')
    assert built(site) is None


def test_a_permitted_error_needs_no_new_run_and_an_expired_one_neither(site: Site) -> None:
    site.passed(findings=[ERROR])
    entry = 'console = "fail"\nallow = [{{ pattern = "dev sr0", reason = "bug 1", until = {} }}]'
    site.write(entry.format("9999-12-31"))
    assert built(site) is None
    assert site.remarks() == []
    site.write(entry.format("2026-11-01"))  # before the date of the project, and so of every clock
    error = built(site)
    assert error is not None
    assert error.reason is Reason.CONSOLE_ERRORS
    (remark,) = site.remarks()
    assert "expired on 2026-11-01 (bug 1)" in remark


def test_an_entry_that_matches_nothing_is_reported_for_a_cached_test(site: Site) -> None:
    site.passed()
    site.write('allow = [{ pattern = "dev sr0", reason = "bug 1" }]')
    assert built(site) is None
    (remark,) = site.remarks()
    assert "matches no error" in remark


def test_an_entry_that_expired_long_ago_is_an_error_with_its_place(site: Site, cli: Cli) -> None:
    site.write('allow = [\n{ pattern = "dev sr0", reason = "bug 1", until = 2020-01-31 },\n]')
    code, _, err = cli("check")
    assert code == Exit.INVALID
    assert "stagewright.toml:11:50: until: " in err
    assert "more than a year before the date of the project (2026-11-20)" in err


def test_settings_about_the_console_are_in_no_key(site: Site) -> None:
    key = site.session().plan(["up"]).keys()
    site.write('console = "fail"\nallow = [{ pattern = "dev sr0", reason = "bug 1" }]')
    assert site.session().plan(["up"]).keys() == key
    site.write('failures = [{ pattern = "not ready", meaning = "it was not ready" }]')
    assert site.session().plan(["up"]).keys() != key


@pytest.mark.slow
def test_nothing_is_made_from_a_refused_test(site: Site) -> None:
    site.passed(findings=[ERROR])
    site.write('console = "fail"\n[stages.pack]\nkind = "tarball"\nroot = "base"\n' + RELEASE)
    result = site.session().build(["one"])
    assert result.errors.keys() == {"test:up"}
    assert set(result.statuses.values()) == {Status.FAILED, Status.SKIPPED}
    assert result.statuses["release:one"] is Status.SKIPPED
