"""Worker processes: they end with everything that they started, and no process outlives the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import Site, eventually

from stagewright.engine.again import BUILDS
from stagewright.engine.worker_process import Worker
from stagewright.errors import Reason
from stagewright.events import NodePhase, Status
from stagewright.interpreter import package_path
from stagewright.kinds.seeds.file import FileSeed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces need root")

MANY = "for i in 1 2 3 4 5 6 7 8; do sleep 4321 & done; setsid sleep 4321 & say ready; reach ready; wait"
"""A worker with many processes, one of them in another session."""


class Workers(Site):
    """Starts single workers on the node seed:one."""

    def start(self, behaviour: str, mode: str = "build") -> Worker:
        self.behaviours = {"seed:one": behaviour}
        job, folder = self.job("seed:one")
        return Worker.start(job, folder, mode, program=self.script(job, folder))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    site = Workers(tmp_path)
    yield site
    assert not processes_of(tmp_path)


def processes_of(folder: Path) -> list[str]:
    """The processes whose environment names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "environ").read_bytes() if entry.name.isdigit() and int(entry.name) != os.getpid() else b""
        except OSError:
            continue
        if f"FOLDER={folder}".encode() in words:
            found.append(entry.name)
    return found


def test_events_come_as_they_are_printed(workers: Workers) -> None:
    text = """say '{"event": "NodePhase", "node": "seed:one", "phase": "unpack"}'; await go; built"""
    with workers.start(text) as worker:
        events: list[object] = []
        eventually(lambda: events.extend(worker.events()) or events)
        assert isinstance(events[0], NodePhase)
        assert not worker.ended
        assert not worker.silent
        assert worker.result is None
        workers.reach("go")
        eventually(lambda: worker.ended)
        assert not list(worker.events())
        assert worker.silent
        assert worker.outcome().status is Status.BUILT


@pytest.mark.parametrize(("mode", "expected"), [*((mode, "secret") for mode in BUILDS), ("pin", ""), ("fetch", "")])
def test_every_kind_of_build_has_the_secrets_of_its_node(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, mode: str, expected: str
) -> None:
    monkeypatch.setattr(FileSeed, "needed_variables", lambda _: ("TEST_PIN",))
    monkeypatch.setenv("TEST_PIN", "secret")
    text = """say "{\\"event\\": \\"NodePhase\\", \\"node\\": \\"seed:one\\", \\"phase\\": \\"<$TEST_PIN>\\"}"; built"""
    with workers.start(text, mode) as worker:
        events: list[object] = []
        eventually(lambda: events.extend(worker.events()) or events)
        assert [getattr(event, "phase", "") for event in events] == [f"<{expected}>"]


def test_nothing_is_left_when_a_kill_returns(workers: Workers) -> None:
    for _ in range(5):
        with workers.start(MANY) as worker:
            eventually((workers.flags / "ready").exists)
            eventually(lambda: len(processes_of(workers.folder)) >= 10)
            worker.kill()
            assert not processes_of(workers.folder)
            assert worker.ended
        (workers.flags / "ready").unlink()


def test_leaving_the_context_kills(workers: Workers) -> None:
    with workers.start(MANY):
        eventually((workers.flags / "ready").exists)
    assert not processes_of(workers.folder)


def test_a_worker_killed_from_outside_has_ended_only_when_all_of_it_is_gone(workers: Workers) -> None:
    with workers.start(MANY) as worker:
        eventually((workers.flags / "ready").exists)
        os.kill(worker.process.pid, signal.SIGKILL)
        eventually(lambda: worker.ended)
        assert not processes_of(workers.folder)
        error = worker.outcome().error
        assert error
        assert error["reason"] == Reason.BUILD_FAILED
        assert "SIGKILL" in error["message"]


def test_an_error_shows_the_end_of_the_log(workers: Workers) -> None:
    with workers.start("echo the cause >&2; kill -9 $$") as worker:
        eventually(lambda: worker.ended)
        error = worker.outcome().error
        assert error
        assert "the cause" in error["detail"]


def test_a_worker_can_be_killed_at_any_moment(workers: Workers) -> None:
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02):
        with workers.start("sleep 4321 & sleep 4321") as worker:
            time.sleep(delay)
            worker.kill()
            assert not processes_of(workers.folder)


def test_closing_twice_is_harmless(workers: Workers) -> None:
    worker = workers.start("built")
    eventually(lambda: worker.ended)
    worker.kill()
    worker.close()
    worker.close()
    worker.kill()


@pytest.mark.slow
def test_no_process_of_a_worker_outlives_the_engine(tmp_path: Path) -> None:
    """The engine is a separate process here, and is killed."""
    program = (
        "import sys, time; from pathlib import Path\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}, {package_path()!r}]\n"
        "from test_engine_worker_process import MANY, Workers\n"
        f"worker = Workers(Path({str(tmp_path)!r})).start(MANY)\n"
        "time.sleep(4321)"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as engine:
        try:
            eventually((tmp_path / "flags" / "ready").exists)
            eventually(lambda: len(processes_of(tmp_path)) >= 10)
        finally:
            engine.kill()
    eventually(lambda: not processes_of(tmp_path))
