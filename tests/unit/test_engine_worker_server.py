"""The server of workers: what it forks ends with the engine and with the server, and shares nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_workers import Site
from fake_workers import eventually as eventually_within

from stagewright.engine.worker_process import Worker
from stagewright.engine.worker_server import WorkerServer
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Status

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces need root"),
    pytest.mark.slow,
]

SEED = """
import json, os, subprocess, sys, time
from pathlib import Path
from stagewright.kinds.seeds.file import FileSeed

count = 0
FileSeed.build_modules = ("stagewright.seeds.oci_image",)

def build(self, work):
    global count
    count += 1
    facts = {"environ": dict(os.environ), "count": count, "pid": os.getpid(), "host": os.uname().nodename,
             "imported": "stagewright.seeds.oci_image" in sys.modules,
             "open": sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")[:-1])}
    (work.folder / "facts").write_text(json.dumps(facts))
    if work.node.id == "seed:one":
        subprocess.Popen(["setsid", "sleep", "4321"], env={"FOLDER": str(work.folder)})
        (work.folder / "ready").touch()
        time.sleep(4321)
    raise RuntimeError("enough")

FileSeed.build = build
"""
"""A module that the server imports: builds of ``seed:one`` never end, others fail; each writes what it sees."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "endless_seed.py").write_text(SEED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield Site(tmp_path)
    eventually(lambda: not processes_of(tmp_path))


def eventually(test: Callable[[], object]) -> None:
    """Wait long: a server imports all its modules, also on a busy machine."""
    eventually_within(test, 120)


def processes_of(folder: Path) -> list[str]:
    """The processes that work on a folder: those that name it in their environment or in a mount."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment, words = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in environment and (b"sleep" in words or b"worker_server" in words):
                found.append(entry.name)
    return found


def started(site: Site, node: str, server: WorkerServer) -> Worker:
    job, folder = site.job(node)
    return Worker.start(job, folder, server=server)


def facts(worker: Worker) -> dict[str, object]:
    found: dict[str, object] = json.loads((worker.folder / "facts").read_text(encoding="utf-8"))
    return found


def test_workers_of_a_server_share_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    seen = []
    with WorkerServer(["endless_seed"]) as server:
        for _ in range(2):
            with started(site, "seed:two", server) as worker:
                eventually(lambda worker=worker: worker.ended)
                list(worker.events())
                error = StagewrightError.from_dict(worker.outcome().error or {})
                assert "enough" in error.detail, error
                seen.append(facts(worker))
    for one in seen:
        assert (one["count"], one["pid"]) == (1, 1)
        assert one["imported"]
        assert "SECRET" not in one["environ"]
        opened = [name for name in one["open"] if "socket" in name]
        assert not opened, one["open"]


def test_a_worker_that_is_killed_leaves_nothing(site: Site) -> None:
    with WorkerServer(["endless_seed"]) as server, started(site, "seed:one", server) as worker:
        eventually((worker.folder / "ready").exists)
        assert not worker.ended
        worker.kill()
        assert worker.ended
        assert not any(name for name in processes_of(site.folder) if name != str(server.pid))
        assert worker.outcome().status is Status.FAILED


@pytest.mark.parametrize("victim", ["guardian", "process 1"])
def test_the_rest_of_a_worker_ends_with_a_part_of_it(site: Site, victim: str) -> None:
    with WorkerServer(["endless_seed"]) as server, started(site, "seed:one", server) as worker:
        eventually((worker.folder / "ready").exists)
        if victim == "guardian":
            os.kill(worker.process.pid, signal.SIGKILL)
        else:
            assert worker.namespace
            signal.pidfd_send_signal(worker.namespace, signal.SIGKILL)
        eventually(lambda: worker.ended)
        error = StagewrightError.from_dict(worker.outcome().error or {})
        assert "exited unexpectedly (ended by SIGKILL (signal 9))" in error.message


def test_workers_end_with_their_server_and_the_next_one_starts_without(site: Site) -> None:
    with WorkerServer(["endless_seed"]) as server, started(site, "seed:one", server) as worker:
        eventually((worker.folder / "ready").exists)
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: worker.ended)
        assert worker.outcome().error["reason"] == Reason.BUILD_FAILED
        with started(site, "seed:two", server) as other:  # by a separate command: with the true kind
            eventually(lambda: other.ended)
            list(other.events())
            assert other.outcome().status is Status.BUILT


ENGINE = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from fake_workers import Site
from stagewright.engine.worker_process import Worker
from stagewright.engine.worker_server import WorkerServer
site = Site(Path(sys.argv[1]))
job, folder = site.job("seed:one")
server = WorkerServer(["endless_seed"])
worker = Worker.start(job, folder, server=server)
print(folder, flush=True)
time.sleep(4321)
"""


def test_server_and_workers_end_with_the_engine(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "endless_seed.py").write_text(SEED, encoding="utf-8")
    words = [sys.executable, "-c", ENGINE, tmp_path, tmp_path / "modules", Path(__file__).parent]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout
        folder = Path(engine.stdout.readline().strip())
        eventually((folder / "ready").exists)
        assert processes_of(tmp_path)
        engine.kill()
    eventually(lambda: not processes_of(tmp_path))
