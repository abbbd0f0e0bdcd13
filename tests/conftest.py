"""Fixtures of all tests: the command, and stores with results that the builds of tests start from.

``STAGEWRIGHT_TEST_STORE`` (default ``/var/cache/stagewright-tests``) is a folder that is kept between test runs:
seeds are bootstrapped and distfiles fetched once. It can be removed at any time; the next run fills it again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from integration.support import DEMO, SEED, TRIXIE, Run, Warm, call, copy_project
from order import GroupScheduling, rank_of
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from stagewright import ids
from stagewright.engine.worker import isolated
from stagewright.errors import StagewrightError
from stagewright.root.overlay import options_of_overlays

AS_HOST_ROOT = "STAGEWRIGHT_TESTS_AS_HOST_ROOT"
"""Variable of the environment that tests builds with the ids of this computer, if there are no user namespaces."""

TOOLS = (
    *("bwrap", "unshare", "setpriv", "slirp4netns", "mmdebstrap", "apt-get", "mksquashfs", "unsquashfs", "xorriso"),
    *("mcopy", "tar"),
)
"""Programs without which nothing real can be built."""


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start, also if a shell started this run in the background.

    Examples of hypothesis have no deadline: on a busy machine their time says nothing about the code.
    """
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get(AS_HOST_ROOT):
        os.environ[ids.SWITCH] = "1"  # the tests of the namespaces are skipped then
    elif os.geteuid() == 0 and not ids.as_host_root() and (problem := _problem_of_namespaces()):
        raise pytest.UsageError(
            f"builds have no user namespace here ({problem}); with {AS_HOST_ROOT}=1 they are tested without one"
        )


def pytest_report_header() -> str:
    """Say with which ids the tests build."""
    return "builds: with the ids of this computer" if ids.as_host_root() else f"builds: with the ids {ids.mark()}"


def _problem_of_namespaces() -> str:
    """Return why no overlay can be mounted in the user namespace of builds; an empty string if it can."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        for part in ("lower", "upper", "work", "root"):
            (folder / part).mkdir()
        options = f"lowerdir=lower,upperdir=upper,workdir=work,{options_of_overlays()}"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, "root"]
        try:
            done = subprocess.run(isolated(mount), cwd=folder, check=False, capture_output=True, text=True)
            return f"mount: {done.stderr.strip()}" if done.returncode else ""
        except (StagewrightError, OSError) as error:
            return str(error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests: files that take long come first."""
    items.sort(key=lambda item: rank_of(item.path.relative_to(config.rootpath).as_posix()))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With ``--dist loadfile``, keep groups of files in one process, because they look at the same builds."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that this machine cannot run, with the reason."""
    if item.get_closest_marker("real") is None:
        return
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: real builds mount file systems and need root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (packages/install installs them)")
    if not Path("/dev/net/tun").exists():
        pytest.skip("NOT TESTED: fetch steps need /dev/net/tun")


@pytest.fixture(scope="session")
def run_stagewright() -> Callable[..., Run]:
    """Run the command in a separate process: ``run_stagewright(*args, cwd=, store=, check=True)``."""
    return call


@pytest.fixture(scope="session")
def store_path() -> Path:
    """The folder that is kept between test runs."""
    path = Path(os.environ.get("STAGEWRIGHT_TEST_STORE", "/var/cache/stagewright-tests"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def warm(store_path: Path, testrun_uid: str) -> Iterator[Warm]:
    """A store with the demo's results up to its ISO, its binary packages and distfiles; tests only copy from it."""
    with Warm.shared(store_path / "demo", DEMO, "iso", run=testrun_uid) as found:
        yield found


@pytest.fixture(scope="session")
def seed(store_path: Path, testrun_uid: str) -> Iterator[Warm]:
    """A store with the seed of tests/data/seed, which stands for the seeds of several examples."""
    with Warm.shared(store_path / "seed", SEED, "debian", run=testrun_uid) as found:
        yield found


@pytest.fixture(scope="session")
def trixie(store_path: Path, testrun_uid: str) -> Iterator[Warm]:
    """A store with the seed of tests/data/trixie: Debian 13 with systemd 257, dracut 106 and Linux 6.12."""
    with Warm.shared(store_path / "trixie", TRIXIE, "trixie", run=testrun_uid) as found:
        yield found


@pytest.fixture
def demo(tmp_path: Path, warm: Warm) -> Path:
    """A copy of the demo with the lock file of the warm store."""
    folder = copy_project(DEMO, tmp_path / "demo")
    shutil.copy(warm.lock, folder)
    return folder


@pytest.fixture
def fresh(warm: Warm) -> Iterator[Callable[..., Path]]:
    """A function that makes stores with some nodes of the warm store (default: the seeds) and with its caches."""
    made: list[Path] = []

    def make(*nodes: str, binpkgs: bool = True) -> Path:
        made.append(warm.copy(nodes or ("seed:debian", "seed:debian-boot"), binpkgs=binpkgs))
        return made[-1]

    yield make
    for path in made:
        shutil.rmtree(path)
