"""Limits of nodes: a build that hits one ends with a sentence that names it, and the other nodes go on."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_workers import Site, eventually
from test_engine_worker_process import processes_of

from stagewright.engine.job import Job
from stagewright.engine.limits import RESERVE, DiskWatch, Guard
from stagewright.engine.worker_process import Worker
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeNotice, NodePhase, Status
from stagewright.graph.node import Yields
from stagewright.interpreter import package_path
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.work import Grant, Work
from stagewright.project.limits import Limits, NodeLimits, parse_limits
from stagewright.root import limit_groups
from stagewright.root.limit_groups import LimitGroup, Place, find_place
from stagewright.run import PIPE, run, spawn
from stagewright.trees import measure

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces need root")
in_groups = pytest.mark.usefixtures("groups")

STOPPED = "sleep 4321 & sh -c 'kill -STOP $$'; built"
"""A worker with a command that stops itself."""

TRACED = """python3 -c '
import ctypes, os, time
ctypes.CDLL(None).ptrace(0x4206, os.getppid(), 0, 0)  # PTRACE_SEIZE
ctypes.CDLL(None).ptrace(0x4207, os.getppid(), 0, 0)  # PTRACE_INTERRUPT
time.sleep(4321)'"""
"""A worker that is stopped by a debugger, which sleeps."""


@pytest.fixture
def groups() -> None:
    """Skip a test that needs control groups where none can be made."""
    if os.geteuid() != 0 or find_place() is None:
        pytest.skip("NOT TESTED: no control groups with limits of memory here")


class Limited(Site):
    """Nodes in namespaces and control groups, as builds are."""

    def launch(self, job: Job, folder: Path) -> Worker:
        return Worker.start(job, folder, program=self.script(job, folder))

    def errors(self, limits: str, *seeds: str) -> Mapping[str, StagewrightError]:
        """Build everything, with limits for some seeds, and return the errors of failed nodes."""
        file = self.folder / "project/stagewright.toml"
        text = file.read_text(encoding="utf-8")
        for seed in seeds:
            text = text.replace(f"[seeds.{seed}]", f"[seeds.{seed}]\nlimits = {{ {limits} }}")
        file.write_text(text, encoding="utf-8")
        return self.run(keep_going=True).errors

    def log(self, node: str) -> str:
        (log,) = self.store.log_folder(self.records, node).glob("*.log")
        return log.read_text(encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Limited]:
    found = Limited(tmp_path)
    yield found
    assert not processes_of(tmp_path)
    assert not groups_of(tmp_path / "store")


def groups_of(store: Path) -> list[Path]:
    """The control groups of the kept and running builds of a store."""
    place = find_place()
    keys = {path.name.partition(".")[0] for path in (store / "locks").glob("*.lock")}
    folders = set(place.folders.values()) if place else set()
    return [path for folder in folders for key in keys for path in folder.glob(f"stagewright-{key}.*")]


# where they come from


def test_the_first_limit_given_counts() -> None:
    stage, project = NodeLimits(memory="2G"), NodeLimits(memory="1G", timeout="12h", disk="512M")
    limits = NodeLimits(processes=99).resolved(stage, project)
    assert limits == Limits("12h", 2 << 30, 99, 512 << 20)
    assert limits.seconds == 12 * 3600
    assert NodeLimits().resolved() == Limits()


def test_limits_of_the_command_line_are_checked() -> None:
    assert parse_limits(("timeout=90m", "processes=500")) == NodeLimits(timeout="90m", processes=500)
    for wrong in ("timeout=90", "speed=9", "processes=many", "memory", "memory=0G"):
        with pytest.raises(StagewrightError) as caught:
            parse_limits((wrong,))
        assert caught.value.reason is Reason.USAGE
        assert wrong in caught.value.message


def test_limits_are_not_part_of_keys(tmp_path: Path) -> None:
    site = Site(tmp_path)
    before = {name: site.key(name) for name in ("seed:one", "first")}
    file = tmp_path / "project/stagewright.toml"
    text = file.read_text(encoding="utf-8").replace('file = "folder"', 'file = "folder"\nlimits = { timeout = "2h" }')
    file.write_text(text + '\n[limits]\nmemory = "9G"\n', encoding="utf-8")
    assert {name: site.key(name) for name in before} == before
    found: list[Limits] = []

    class Noting(Site):
        def __post_init__(self) -> None:
            self.store, self.flags = site.store, site.flags

        def launch(self, job: Job, folder: Path) -> Worker:
            found.append(job.limits)
            return super().launch(job, folder)

    assert Noting(tmp_path).run(cores=1).status is Status.BUILT
    assert found[0] == Limits("2h", 9 << 30)
    assert found[-1] == Limits("3d", 9 << 30)


# time


def phase(*, waits: bool) -> str:
    return NodePhase(node="seed:one", phase="x", waits=waits).to_json()


def test_a_wait_is_in_the_log_and_in_the_phases(tmp_path: Path) -> None:
    site, log, events = Site(tmp_path), io.StringIO(), list[Event]()
    step = site.plan().steps["seed:one"]
    work: Work[SeedContext] = Work(step.node, step.key, {}, Grant(), (), tmp_path, site.store, log, events.append)
    report = work.waiter("a download", "look up packages")
    report(True)
    report(False)
    phases = [(event.phase, event.waits) for event in events if isinstance(event, NodePhase)]
    assert phases == [("wait for a download", True), ("look up packages", False)]
    assert log.getvalue() == "wait for a download\nlook up packages\n"


@as_root
def test_a_wait_for_another_node_does_not_count(site: Limited) -> None:
    site.behaviours = {"seed:one": f"say '{phase(waits=True)}'; sleep 6; say '{phase(waits=False)}'; built"}
    assert not site.errors('timeout = "4s"', "one")


@as_root
def test_the_limit_counts_again_after_a_wait(site: Limited) -> None:
    site.behaviours = {"seed:one": f"say '{phase(waits=True)}'; sleep 1; say '{phase(waits=False)}'; sleep 60"}
    assert site.errors('timeout = "2s"', "one")["seed:one"].reason is Reason.LIMIT


@pytest.mark.slow
@as_root
def test_builds_that_hang_end_at_their_time_limit(site: Limited) -> None:
    site.behaviours = {"seed:one": f"echo the last line >&2; {STOPPED}", "seed:two": TRACED}
    errors = site.errors('timeout = "10s"', "one", "two")
    assert {name: error.reason for name, error in errors.items()} == dict.fromkeys(site.behaviours, Reason.LIMIT)
    error = errors["seed:one"]
    assert 'timeout = "10s"' in error.message
    assert "--limit timeout=20s" in error.hint
    assert "the last line" in error.detail
    assert "the last line" in site.log("seed:one")
    assert site.store.failed(site.records, "seed:one").exists()
    for name in errors:
        with site.store.locked(site.key(name)) as free:
            assert free


# memory and processes


@in_groups
def test_a_build_that_eats_memory_dies_and_the_others_go_on(site: Limited) -> None:
    site.behaviours = {
        "seed:one": "tail /dev/zero || failed",
        "seed:two": "[ $(cat /proc/self/oom_score_adj) -ge 500 ] && built",
    }
    own = Path("/proc/self/oom_score_adj").read_text(encoding="utf-8")
    errors = site.errors('memory = "64M"', "one")
    assert set(errors) == {"seed:one"}
    assert site.store.has(Yields.ARTIFACT, site.key("second"))
    assert errors["seed:one"].reason is Reason.LIMIT
    assert "out of memory" in errors["seed:one"].message
    assert "memory = 64 MiB" in errors["seed:one"].message
    assert "it failed" in errors["seed:one"].detail
    assert Path("/proc/self/oom_score_adj").read_text(encoding="utf-8") == own


@in_groups
def test_a_build_that_starts_too_many_processes_fails(site: Limited) -> None:
    site.behaviours = {"seed:one": "for i in $(seq 40); do sleep 4321 & done; built"}
    (error,) = site.errors("processes = 20", "one").values()
    assert error.reason is Reason.LIMIT
    assert "processes = 20" in error.message


@pytest.mark.slow
@in_groups
def test_the_end_of_the_engine_removes_the_groups(tmp_path: Path) -> None:
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
            assert groups_of(tmp_path / "store")
        finally:
            engine.kill()
    eventually(lambda: not groups_of(tmp_path / "store"))
    eventually(lambda: not processes_of(tmp_path))


# what the kernel permits


def test_without_control_groups_single_processes_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_groups, "find_place", lambda: None)
    group = LimitGroup.make("unit-test", 64 << 20, 4000, swap=False)
    assert group.place is None
    assert not group.hits()
    shown = run(group.command(["sh", "-c", "cat /proc/self/limits"])).stdout
    limits = {line[:26].strip(): line[26:].split()[0] for line in shown.splitlines()}
    assert (limits["Max data size"], limits["Max processes"]) == (str(64 << 20), "4000")
    group.remove()


MOUNTS = "30 20 0:27 {root} {path} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_groups_of_version_2_are_made_where_the_controllers_are(tmp_path: Path) -> None:
    own = tmp_path / "user.slice/user@1000.service/app.slice/one.scope"
    own.mkdir(parents=True)
    for folder, controllers in ((tmp_path / "user.slice", "cpu memory pids"), (own.parent, "memory pids"), (own, "")):
        (folder / "cgroup.subtree_control").write_text(controllers, encoding="ascii")
        (folder / "cgroup.procs").touch()
    path = "0::/user.slice/user@1000.service/app.slice/one.scope\n"
    whole = MOUNTS.format(root="/", path=tmp_path)
    assert find_place(path, whole) == Place(2, {"memory": own.parent, "pids": own.parent})
    part = MOUNTS.format(root="/user.slice/user@1000.service/app.slice/one.scope", path=own)
    assert find_place(path, part) is None
    (own.parent / "cgroup.subtree_control").write_text("pids", encoding="ascii")
    assert find_place(path, whole) == Place(2, dict.fromkeys(("memory", "pids"), tmp_path / "user.slice"))


def test_a_worker_does_not_leave_the_limits_of_a_service(tmp_path: Path) -> None:
    service = tmp_path / "system.slice/a.service"
    service.mkdir(parents=True)
    (service.parent / "cgroup.subtree_control").write_text("memory pids", encoding="ascii")
    (service.parent / "cgroup.procs").touch()
    unlimited = {"memory.max": "max", "memory.high": "max", "cpu.max": "max 100000", "io.max": "", "cpuset.cpus": ""}
    for name, text in {**unlimited, "pids.max": "4000"}.items():
        (service / name).write_text(f"{text}\n", encoding="ascii")
    whole = MOUNTS.format(root="/", path=tmp_path)
    found = find_place("0::/system.slice/a.service\n", whole)
    assert found == Place(2, dict.fromkeys(("memory", "pids"), service.parent), 4000)
    for name, text in (("memory.max", "8589934592"), ("cpu.max", "50000 100000"), ("io.max", "8:0 rbps=9")):
        (service / name).write_text(f"{text}\n", encoding="ascii")
        assert find_place("0::/system.slice/a.service\n", whole) is None
        (service / name).write_text(f"{unlimited[name]}\n", encoding="ascii")


def test_a_group_that_cannot_be_entered_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it can be permitted where moving a process into it is not. These groups are ordinary folders."""
    place = Place(2, dict.fromkeys(("memory", "pids"), tmp_path), 7)
    monkeypatch.setattr(limit_groups, "find_place", lambda: place)
    monkeypatch.setattr(limit_groups, "_LAUNCHER", "exit 2")
    group = LimitGroup.make("unit-test", 64 << 20, 4000, swap=False)
    assert (group.place, group.processes) == (None, 7)
    assert not group.keeper


def test_a_kernel_without_control_groups_has_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path, **_: object) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "read_text", missing)
    assert find_place() is None
    assert LimitGroup("n", 1, 1, None).command(["true"])[4] == "500"


def test_the_log_says_who_enforces_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_groups, "find_place", lambda: None)
    guard = Guard(Limits(), LimitGroup.make("unit-test", 64 << 20, 4000, swap=False))
    assert "resource limits" in str(guard)


def test_groups_of_version_1_are_below_the_own_group(tmp_path: Path) -> None:
    for name in ("memory/docker/one", "pids/docker/one"):
        (tmp_path / name).mkdir(parents=True)
    line = "30 20 0:27 {root} {path} rw - cgroup cgroup rw,{name}\n"
    both = [line.format(root="/docker", path=tmp_path / name / "docker", name=name) for name in ("memory", "pids")]
    own = "4:memory:/docker/one\n3:pids:/docker/one\n0::/\n"
    found = find_place(own, "".join(both))
    assert found == Place(1, {name: tmp_path / name / "docker/one" for name in ("memory", "pids")})
    assert find_place(own, both[0]) is None
    assert find_place("0::/\n", "".join(both)) is None


# the disk


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mapping[Path, StagewrightError]]:
    """A function that looks at folders until something is found, with this many bytes free on the disk."""

    monkeypatch.setattr("stagewright.engine.limits.LOOK", 0.01)

    def look(free: int, expected: bool = True, **limits: Limits) -> Mapping[Path, StagewrightError]:
        watch = DiskWatch(tmp_path, lambda _: (1 << 40, 0, free))
        running = {tmp_path / name: one for name, one in limits.items()}
        end = time.monotonic() + (20 if expected else 0.5)
        while time.monotonic() < end:
            if found := watch.look(running):
                return found
            time.sleep(0.02)
        return {}

    for name, size in (("small", 1), ("large", 3)):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/file").write_bytes(b"x" * (size << 20))
    return look


def test_a_node_that_writes_more_than_its_limit_is_found(
    watch: Callable[..., Mapping[Path, StagewrightError]], tmp_path: Path
) -> None:
    limits = Limits(disk=2 << 20)
    ((folder, error),) = watch(1 << 39, small=limits, large=limits).items()
    assert folder == tmp_path / "large"
    assert error.reason is Reason.LIMIT
    assert "disk = 2 MiB" in error.message


@pytest.mark.slow
def test_the_largest_node_is_found_if_the_disk_is_almost_full(
    watch: Callable[..., Mapping[Path, StagewrightError]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagewright.engine.limits.RESERVE", 2 << 20)
    ((folder, error),) = watch(1 << 20, small=Limits(), large=Limits()).items()
    assert folder == tmp_path / "large"
    assert error.reason is Reason.DISK_FULL
    assert not watch(1 << 20, False, small=Limits()), "it has less than the reserve: others have filled the disk"
    assert RESERVE == 512 << 20


def test_a_node_that_writes_too_much_is_ended(tmp_path: Path) -> None:
    site = Site(tmp_path, {"seed:one": "head -c 3M /dev/zero > $FOLDER/file; exec sleep 4321"})
    limits = NodeLimits(disk="2M")
    (error,) = site.run(keep_going=True, limits=limits).errors.values()  # type: ignore[arg-type]
    assert error.reason is Reason.LIMIT


def test_files_that_the_store_has_lent_do_not_count(
    watch: Callable[..., Mapping[Path, StagewrightError]], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_bytes(b"x" * (3 << 20))
    (tmp_path / "small/deep/lent").hardlink_to(tmp_path / "cache")
    assert not watch(1 << 39, False, small=Limits(disk=2 << 20))
    (tmp_path / "small/deep/second").write_bytes(b"x" * (3 << 20))
    (tmp_path / "small/deep/third").hardlink_to(tmp_path / "small/deep/second")
    assert watch(1 << 39, small=Limits(disk=2 << 20))


def test_a_node_that_cannot_be_measured_keeps_its_size_and_the_others_are_measured(
    watch: Callable[..., Mapping[Path, StagewrightError]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, *, only_own: bool) -> tuple[int, bool]:
        if folder.name == "small":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return measure(folder, only_own=only_own)

    monkeypatch.setattr("stagewright.engine.limits.measure", broken)
    monkeypatch.setattr("stagewright.engine.limits.RESERVE", 2 << 20)
    assert [folder.name for folder in watch(1 << 20, small=Limits(), large=Limits())] == ["large"]


def test_a_node_that_fills_the_disk_is_removed_so_that_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(
        tmp_path,
        {
            "seed:one": "await two; head -c 3M /dev/zero > $FOLDER/file; exec sleep 4321",
            "seed:two": "head -c 2M /dev/zero > $FOLDER/file; reach two; await space; built",
        },
    )

    def usage(store: Path) -> tuple[int, int, int]:
        sizes = [path.stat().st_size for path in store.rglob("file")]
        if "seed:one" in scheduler._outcome.errors and sum(sizes) < 4 << 20:
            site.reach("space")
        return 1 << 40, 0, 1 << 40 if sum(sizes) < 4 << 20 else 0

    monkeypatch.setattr("stagewright.engine.limits.RESERVE", 1 << 20)
    monkeypatch.setattr("stagewright.engine.limits.LOOK", 0.05)
    scheduler = site.scheduler(keep_going=True)
    scheduler._executor._disk = DiskWatch(site.store.path, usage)
    errors = scheduler.run().errors
    assert {name: error.reason for name, error in errors.items()} == {"seed:one": Reason.DISK_FULL}
    assert not site.store.failed(site.records, "seed:one").exists()
    assert any("not kept" in event.text for event in site.events if isinstance(event, NodeNotice))


def test_threads_can_remove_the_groups_of_their_workers_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=20)

    def remove(number: int) -> int:
        keeper = spawn(["sh", "-c", f"read -r ended; sleep 0.0{number}"], stdin=PIPE)
        group = LimitGroup(f"group{number}", 1 << 30, 100, None, keeper)
        together.wait()
        group.remove()
        return keeper.wait(20)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(remove, [1, 2, 3, 4] * 5)) == [0] * 20
