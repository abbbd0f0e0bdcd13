"""The second run of tests that failed: it excuses a test that fails once, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

GOOD = "def test_good():\n    pass\n"
BAD = "def test_bad():\n    assert False\n"
ONCE = """
import pathlib

def test_once():
    mark = pathlib.Path("failed-before")
    if not mark.exists():
        mark.touch()
        assert False
"""


def run_tests(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of some files in a new project."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    words = [sys.executable, "-m", "tools.test_run", "-p", "no:randomly"]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_tests_that_pass_are_run_once(tmp_path: Path) -> None:
    done = run_tests(tmp_path, good=GOOD)
    assert done.returncode == 0
    assert done.stdout.count("1 passed") == 1


def test_a_test_that_fails_once_is_named(tmp_path: Path) -> None:
    done = run_tests(tmp_path, good=GOOD, once=ONCE)
    assert done.returncode == 0
    assert "1 failed, 1 passed" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("Correct these tests: test_once.py::test_once")


def test_a_test_that_fails_twice_fails(tmp_path: Path) -> None:
    done = run_tests(tmp_path, bad=BAD, once=ONCE)
    assert done.returncode == 1
    assert "FAILED ONCE" not in done.stdout


def test_failures_in_many_files_are_not_run_again(tmp_path: Path) -> None:
    done = run_tests(tmp_path, a=BAD, b=BAD, c=BAD, d=ONCE)
    assert done.returncode == 1
    assert "Tests of 4 files failed" in done.stdout
    assert done.stdout.count("short test summary") == 1


@pytest.mark.parametrize("text", ["import nothing_of_this_name\n", "def broken(:\n"])
def test_a_file_that_cannot_be_read_fails(tmp_path: Path, text: str) -> None:
    assert run_tests(tmp_path, good=GOOD, wrong=text).returncode != 0
