"""Control groups of containers: a worker makes one, and its keeper removes it, whatever happened to the worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import eventually

from stagewright.errors import StagewrightError
from stagewright.interpreter import package_path
from stagewright.root import cgroup
from stagewright.run import Process, run

NAME = f"unit-test-{os.getpid()}"


def groups(tmp_path: Path) -> list[str]:
    """The control groups with the name of this test, wherever they are."""
    script = 'mount -t cgroup2 cgroup2 "$1" && find "$1" -type d -name "stagewright-$2"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", tmp_path, NAME]
    return run(command).stdout.splitlines()


@pytest.fixture(autouse=True)
def _possible(tmp_path: Path) -> None:
    try:
        groups(tmp_path)
    except StagewrightError as error:
        pytest.skip(f"NOT TESTED: control groups need root and cgroup2 ({error.message})")


@contextlib.contextmanager
def member() -> Iterator[subprocess.Popen[str]]:
    """A process in the group, which has made it, as a worker does."""
    program = (
        f"import sys, time; sys.path.insert(0, {package_path()!r}); from stagewright.root.cgroup import enter\n"
        f"enter({NAME!r}); print('in the group', flush=True); time.sleep(4321)"
    )
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "in the group\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def keeper() -> Iterator[Process]:
    with cgroup.keeper(NAME) as process:
        yield process


def test_a_group_is_removed_when_its_worker_has_ended(keeper: Process, tmp_path: Path) -> None:
    with member():
        assert len(groups(tmp_path)) == 1
    cgroup.dismiss(keeper)
    assert keeper.returncode == 0
    assert groups(tmp_path) == []


def test_a_keeper_without_a_group_ends_at_once(keeper: Process) -> None:
    started = time.monotonic()
    cgroup.dismiss(keeper)
    assert time.monotonic() - started < 5


def test_the_end_of_the_engine_ends_the_group(keeper: Process, tmp_path: Path) -> None:
    with member() as process:
        assert keeper.stdin
        keeper.stdin.close()
        eventually(lambda: process.poll() is not None)
    eventually(lambda: groups(tmp_path) == [])
