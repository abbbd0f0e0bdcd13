"""Files and consoles of tests, whose results are made here: no machine starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stagewright.api import Session
from stagewright.cli.main import run
from stagewright.errors import Exit, Reason
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.store.meta import Meta
from stagewright.store.store import Store

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

Cli = Callable[..., tuple[int, str, str]]


class Site:
    """A project with a test, and its store."""

    def __init__(self, folder: Path) -> None:
        (folder / "project/seed/etc").mkdir(parents=True)
        self.project, self.store = folder / "project", Store(folder / "store")
        self.write()

    def write(self, more: str = "") -> None:
        """Write the project, with more settings of the test."""
        (self.project / "stagewright.toml").write_text(PROJECT + more, encoding="utf-8")

    def session(self) -> Session:
        return Session.open(self.project, store=self.store.path)

    def failed(self) -> Path:
        """Make the folder of a test that failed."""
        folder = self.store.failed("small", "test:up") / TEST_ARTIFACTS
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
