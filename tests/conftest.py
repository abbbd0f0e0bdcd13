"""Fixtures that all tests share: the command, and a warm store with what the demo's builds start from.

``STAGEWRIGHT_TEST_STORE`` (default ``/var/cache/stagewright-tests``) is a folder that is kept between test runs, so
that seeds are bootstrapped and distfiles fetched once. It may be removed at any time; the next run fills it again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from integration.support import DEMO, Run, Warm, call, copy_project

TOOLS = ("bwrap", "unshare", "setpriv", "mmdebstrap", "apt-get", "mksquashfs", "unsquashfs", "xorriso", "mcopy", "tar")
"""Programs without which nothing real can be built."""


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start, also where a shell began this run in its background.

    How long an example takes says nothing about the code on a busy machine.
    """
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine cannot do."""
    if item.get_closest_marker("real") is None:
        return
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: real builds mount file systems and need root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (packages/install installs them)")


@pytest.fixture(scope="session")
def run_stagewright() -> Callable[..., Run]:
    """Run the command in a separate process: ``run_stagewright(*args, cwd=, store=, check=True)``."""
    return call


@pytest.fixture(scope="session")
def store_path() -> Path:
    """The folder that outlives test runs."""
    path = Path(os.environ.get("STAGEWRIGHT_TEST_STORE", "/var/cache/stagewright-tests"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def warm(store_path: Path, testrun_uid: str) -> Iterator[Warm]:
    """A store with the demo's seeds, binary packages and distfiles. Tests copy from it and never build in it.

    The first process of a test run fills it, the others take it as it is; two runs on one machine take turns.
    """
    filled = store_path / "filled-by"
    with (
        (store_path / "session.lock").open("w", encoding="utf-8") as use,
        (store_path / "fill.lock").open("w", encoding="utf-8") as turn,
    ):
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not filled.exists() or filled.read_text(encoding="utf-8") != testrun_uid:
            fcntl.flock(use, fcntl.LOCK_EX)
            Warm.fill(store_path, DEMO, "debian", "debian-boot", "system")
            filled.write_text(testrun_uid, encoding="utf-8")
        fcntl.flock(use, fcntl.LOCK_SH)
        found = Warm.of(store_path)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield found


@pytest.fixture
def demo(tmp_path: Path, warm: Warm) -> Path:
    """A copy of the demo whose seeds are pinned already."""
    folder = copy_project(DEMO, tmp_path / "demo")
    shutil.copy(warm.lock, folder)
    return folder


@pytest.fixture
def fresh(warm: Warm) -> Iterator[Callable[..., Path]]:
    """Makes stores that start with chosen nodes of the warm one (default: the seeds) and with its caches."""
    made: list[Path] = []

    def make(*nodes: str, binpkgs: bool = True) -> Path:
        made.append(warm.copy(nodes or ("seed:debian", "seed:debian-boot"), binpkgs=binpkgs))
        return made[-1]

    yield make
    for path in made:
        shutil.rmtree(path)
