"""Systems that start in containers, and stages that build themselves: what passes, what fails, and what is left."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.archives import busybox_root, folder, link, member
from integration.processes import Watched, assert_nothing_left, eventually
from integration.support import DEMO, REPOSITORY, Run, Warm, build, call, notices, seeds_of, states, write_project

pytestmark = pytest.mark.real

REBUILDREPO = REPOSITORY / "tests" / "data" / "rebuildrepo"

STARTED = """
[seeds.debian-systemd]
bootstrap = "debian"
portage = ""
packages = ["systemd", "systemd-sysv"]

[stages.system]
kind = "livecd-stage1"
root = "debian-systemd"
script = "script"

[tests.target]
starts = "system"
expect = ["Reached target .*Multi-User System", "login: $"]
poweroff = true
timeout = 100

[tests.session]
starts = "system"
login = { user = "root" }
commands = [
    { run = "systemctl is-system-running --wait", expect = "^running$" },
    { run = "ls /sys/class/net", expect = '\\Alo\\s*\\Z' },
    { run = "touch /was-here && cat /etc/machine-id", expect = "^[0-9a-f]{32}$" },
]
poweroff = true
timeout = 100

[tests.awaits]
starts = "system"
expect = ["login: $", "what never comes"]
timeout = 300
"""

OTHER = """
[seeds.with-busybox]
file = "with-busybox.tar"
[seeds.with-script]
file = "with-script.tar"
[seeds.with-none]
file = "with-none.tar"

[tests.busybox]
starts = "with-busybox"
expect = ["init is up", "Please press Enter"]
timeout = 60

[tests.script]
starts = "with-script"
expect = ["process 1 speaks"]
timeout = 60

[tests.silent]
starts = "with-script"
expect = ["process 1 speaks", "what never comes"]
timeout = 4

[tests.empty]
starts = "with-none"
expect = ["anything"]
timeout = 60
"""


def groups() -> list[str]:
    """The control groups of containers that are there, in a hierarchy mounted wherever."""
    mounts = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(encoding="utf-8"), re.MULTILINE)
    return [name for mount in mounts for path, names, _ in os.walk(mount) for name in names if "stagewright-" in name]


@pytest.fixture(scope="module")
def nspawn() -> None:
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("NOT TESTED: systemd-nspawn not installed (packages/install installs it on Debian)")


def assert_all_gone(store: Path) -> None:
    assert_nothing_left(store)
    assert eventually(lambda: not groups(), 15), groups()


@dataclass(frozen=True)
class Site:
    project: Path
    store: Path

    def build(self, *targets: str, check: bool = True) -> Run:
        return build(*targets, cwd=self.project, store=self.store, check=check)


@pytest.fixture(scope="module")
def started(nspawn: None, store_path: Path) -> Iterator[Site]:
    """A Debian with systemd, in a store that is kept between test runs."""
    site = Site(store_path / "started", store_path / "started-store")
    with (store_path / "started.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_project(site.project, STARTED)
        (site.project / "script").write_text("passwd --delete root\n", encoding="utf-8")
        made = site.build("system", check=False)
        if made.code and "stagewright update" in made.stderr:
            call("update", cwd=site.project, store=site.store)
            site.build("system")
        for folder in ("artifacts", "failed"):
            shutil.rmtree(site.store / folder)
            (site.store / folder).mkdir()
        yield site


def test_systemd_starts_in_a_container(started: Site) -> None:
    run = started.build("target")
    assert run.built() == {"test:target"}
    out = started.project / "out/target"
    report = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert report["passed"]
    assert list(report["milestones"]) == ["Reached target .*Multi-User System", "login: $", "off"]
    assert "Multi-User System" in (out / "console.log").read_text(errors="replace", encoding="utf-8")
    assert states("target", cwd=started.project, store=started.store)["test:target"] == "cached"
    assert_all_gone(started.store)


def test_a_session_in_it_and_nothing_of_it_stays(started: Site) -> None:
    started.build("session")
    report = json.loads((started.project / "out/session/result.json").read_text(encoding="utf-8"))
    assert {"login prompt", "shell", "systemctl is-system-running --wait", "off"} <= set(report["milestones"])
    for layer in (started.store / "layers").iterdir():
        assert not (layer / "tree/was-here").exists()
        assert not (layer / "tree/etc/machine-id").exists()
    shown = call("shell", "session", "--", "ls", "/", cwd=started.project, store=started.store)
    assert "etc" in shown.stdout.split()
    assert "was-here" not in shown.stdout.split()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_leaves_no_process_no_mount_and_no_control_group(started: Site, number: signal.Signals) -> None:
    watched = Watched.start("awaits", cwd=started.project, store=started.store)
    try:
        assert watched.wait_for(event="NodePhase", phase="wait for what never comes")
        assert groups()
        os.kill(watched.process.pid, number)
        assert watched.end(20) in (-number, 130)
    finally:
        watched.process.kill()
    assert_all_gone(started.store)


@pytest.fixture(scope="module")
def others(nspawn: None, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Run]:
    """Roots with other inits, or none, after one build of their tests with ``--keep-going``."""
    base = tmp_path_factory.mktemp("others")
    site = Site(write_project(base / "project", OTHER), base / "store")
    busybox = warm.store / "layers" / warm.keys["system"] / "tree/bin/busybox"
    inittab = member("etc/inittab", b"::sysinit:/bin/echo init is up\nconsole::askfirst:/bin/sh\n", mode=0o644)
    init = member("sbin/init", b"#!/bin/sh\necho process $$ speaks\nexec cat\n")
    busy = [folder("sbin"), link("sbin/init", "/bin/busybox"), inittab]
    for name, members in (("busybox", busy), ("script", [folder("sbin"), init]), ("none", [])):
        busybox_root(site.project / f"with-{name}.tar", busybox, members)
    return site, site.build("--keep-going", check=False)


def test_other_inits_start_as_well(others: tuple[Site, Run]) -> None:
    site, run = others
    assert {"test:busybox", "test:script"} <= run.built(), run
    assert "init is up" in (site.project / "out/busybox/console.log").read_text(encoding="utf-8")
    assert_all_gone(site.store)


def test_a_failure_tells_the_end_of_the_console_and_where_the_rest_is(others: tuple[Site, Run]) -> None:
    site, run = others
    assert run.code == 1
    assert run.reasons == {"test:silent": "boot-failed", "test:empty": "boot-failed"}
    silent = next(event["error"] for event in run.events if event.get("node") == "test:silent" and event.get("error"))
    assert "/what never comes/" in silent["message"]
    assert "seconds" in silent["message"]
    assert "process 1 speaks" in silent["detail"]
    kept = site.store / "failed/test/test%3Asilent/boot"
    assert str(kept) in run.stderr
    assert "process 1 speaks" in (kept / "console.log").read_text(encoding="utf-8")
    assert json.loads((kept / "result.json").read_text(encoding="utf-8"))["passed"] is False
    assert re.search(r"test:empty: the container ended.*\n.*init.*No such file", run.stderr), run.stderr


# stages that build themselves

REBUILT = """
[stages.tools]
kind = "livecd-stage1"
root = "debian"
profile = "default/linux/amd64"
use = ["shout"]
packages = [
    "app-misc/hello", "test-rebuild/breaks-compiler", "test-rebuild/built-once", "test-rebuild/differs", "virtual/one",
]

[tests.selfhost]
rebuilds = "tools"
packages = ["virtual/one", "test-rebuild/differs"]

[tests.dies]
rebuilds = "tools"
packages = ["test-rebuild/built-once"]

[tests.breaks]
rebuilds = "tools"
packages = ["test-rebuild/breaks-compiler"]

[tests.lacks]
rebuilds = "tools"
packages = ["app-misc/hello", "sys-devel/gcc", "@world", "app-misc/nothing"]

[tests.default]
rebuilds = "tools"
"""


@pytest.fixture(scope="module")
def rebuilt(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Run]]:
    """A stage on the demo's seed with a few packages, after one build of its tests with ``--keep-going``."""
    repos = '[repos.demo]\npath = "repo"\nmain = true\n[repos.rebuildrepo]\npath = "rebuildrepo"\n'
    project = write_project(tmp_path_factory.mktemp("rebuilt") / "project", repos + seeds_of(DEMO) + REBUILT)
    shutil.copytree(DEMO / "repo", project / "repo")
    shutil.copytree(REBUILDREPO, project / "rebuildrepo")
    shutil.copy(warm.lock, project)
    site = Site(project, warm.copy(["seed:debian"], binpkgs=True))
    yield site, site.build("--keep-going", "selfhost", "dies", "breaks", "lacks", "default", check=False)
    shutil.rmtree(site.store)


def error(run: Run, node: str) -> dict[str, str]:
    return next(event["error"] for event in run.events if event.get("node") == node and event.get("error"))


def test_packages_are_built_again_and_compared(rebuilt: tuple[Site, Run]) -> None:
    site, run = rebuilt
    assert "test:selfhost" in run.built(), run
    report = json.loads((site.project / "out/selfhost/rebuild.json").read_text(encoding="utf-8"))
    assert report["stage"] == "tools"
    assert report["compiler"].endswith("gcc")
    found = {package["name"]: package for package in report["packages"]}
    assert set(found) == {"app-misc/hello-1.0", "test-rebuild/differs-1"}, "a virtual stands for what satisfies it"
    assert found["app-misc/hello-1.0"]["equal"]
    differs = found["test-rebuild/differs-1"]
    assert differs["differ"] == ["/usr/share/differs/moment"]
    assert differs["added"] == ["/usr/share/differs/second"]
    assert differs["removed"] == ["/usr/share/differs/first"]
    assert all(isinstance(package["seconds"], int) for package in report["packages"])
    assert notices(run) == ["2 packages built again, 1 with the same files; other files in test-rebuild/differs-1"]


def test_they_come_from_source_and_stay_away_from_the_cache(rebuilt: tuple[Site, Run]) -> None:
    site, _ = rebuilt
    log = call("log", "selfhost", cwd=site.project, store=site.store).stdout
    assert ">>> Emerging (1 of 2)" in log
    assert "Emerging binary" not in log
    kept = list((site.store / "cache/binpkgs/test-rebuild/differs").glob("*/*"))
    assert len(kept) == 1, "the stage's own"


def test_a_package_that_cannot_be_built_again(rebuilt: tuple[Site, Run]) -> None:
    site, run = rebuilt
    failure = error(run, "test:dies")
    assert failure["reason"] == "package-failed"
    assert "test-rebuild/built-once-1 failed in its compile phase" in failure["message"]
    assert "this was built before" in failure["detail"]
    assert "stagewright shell dies" in run.stderr
    shown = call("shell", "dies", "--", "cat", "/usr/share/built-once", cwd=site.project, store=site.store)
    assert "as the failed build left it" in shown.stderr
    assert shown.stdout == "built\n"


def test_a_compiler_that_is_broken_afterwards(rebuilt: tuple[Site, Run]) -> None:
    failure = error(rebuilt[1], "test:breaks")
    assert failure["reason"] == "build-failed"
    assert "compiler does not work" in failure["message"]
    assert "program" in failure["detail"]


def test_packages_that_are_not_there_are_named_at_once(rebuilt: tuple[Site, Run]) -> None:
    failure = error(rebuilt[1], "test:lacks")
    assert failure["reason"] == "environment-lacks"
    assert all(name in failure["detail"] for name in ("sys-devel/gcc", "app-misc/nothing"))
    assert "app-misc/hello" not in failure["detail"]
    assert "@world" not in failure["detail"], "the world has packages"


def test_a_profile_that_names_no_toolchain(rebuilt: tuple[Site, Run]) -> None:
    failure = error(rebuilt[1], "test:default")
    assert failure["reason"] == "dependencies"
    assert "packages.build" in failure["message"]
