"""Man pages and completion scripts, which are made from the commands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.cli.completion import FILES
from tools.manual import MAN, write


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usr")
    write(folder)
    return folder


def test_every_command_has_a_page(prefix: Path) -> None:
    names = {path.name for path in (prefix / MAN).iterdir()}
    assert {"stagewright.1", "stagewright-build.1", "stagewright-netboot-serve.1", "stagewright-why.1"} <= names


def test_a_page_has_the_options_and_examples_of_the_help(prefix: Path) -> None:
    page = (prefix / MAN / "stagewright-shell.1").read_text(encoding="utf-8")
    assert r"\fB\-\-before\fR" in page
    assert ".nf\n  stagewright shell desktop\n" in page
    assert r"\fBstagewright\fR(1)" in page
    top = (prefix / MAN / "stagewright.1").read_text(encoding="utf-8")
    assert ".SH EXIT STATUS" in top
    assert r"\fB130\fR" in top


def test_pages_have_no_errors(prefix: Path) -> None:
    pages = sorted((prefix / MAN).iterdir())
    if shutil.which("mandoc"):
        command = ["mandoc", "-T", "lint", "-W", "warning", *map(str, pages)]
    elif shutil.which("groff"):
        command = ["groff", "-man", "-Tutf8", "-ww", "-z", *map(str, pages)]
    else:
        pytest.skip("neither mandoc nor groff is installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_shells_find_their_scripts(prefix: Path) -> None:
    for path in FILES.values():
        assert "_STAGEWRIGHT_COMPLETE" in (prefix / path).read_text(encoding="utf-8")
    done = subprocess.run(["bash", "-n", prefix / FILES["bash"]], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
