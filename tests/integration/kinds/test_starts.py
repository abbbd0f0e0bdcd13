"""starts: the init of a root starts in a container; tests pass or fail for the reason given, and leave nothing."""

from __future__ import annotations

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
from integration.support import (
    SEED,
    Run,
    Warm,
    build,
    call,
    seeds_of,
    states,
    write_project,
)

pytestmark = pytest.mark.real

STARTED = """
[stages.system]
kind = "livecd-stage1"
root = "debian"
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
    """Return the control groups of containers, wherever the hierarchy is mounted."""
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
def started(nspawn: None, seed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Debian with systemd, in which root needs no password."""
    site = Site(tmp_path_factory.mktemp("started") / "project", seed.copy(["seed:debian"], binpkgs=False))
    write_project(site.project, seeds_of(SEED) + STARTED)
    shutil.copy(seed.lock, site.project)
    (site.project / "script").write_text("passwd --delete root\n", encoding="utf-8")
    site.build("system")
    yield site
    shutil.rmtree(site.store)


def test_systemd_starts_in_a_container(started: Site) -> None:
    run = started.build("target")
    assert run.built() == {"test:target"}
    out = started.project / "out/target"
    report = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert report["passed"]
    assert list(report["milestones"]) == ["Reached target .*Multi-User System", "login: $", "off"]
    units = {unit["name"]: unit for unit in report["units"]}
    assert units["systemd-journald.service"]["end"] >= units["systemd-journald.service"]["start"] > 0
    assert "systemd-journald.service" in (out / "boot.svg").read_text(encoding="utf-8")
    assert "Multi-User System" in (out / "console.log").read_text(errors="replace", encoding="utf-8")
    assert states("target", cwd=started.project, store=started.store)["test:target"] == "cached"
    assert_all_gone(started.store)


def test_a_session_leaves_no_files_in_the_layer(started: Site) -> None:
    started.build("session")
    report = json.loads((started.project / "out/session/result.json").read_text(encoding="utf-8"))
    assert {"login prompt", "shell", "systemctl is-system-running --wait", "off"} <= set(report["milestones"])
    for layer in (started.store / "layers").iterdir():
        assert not (layer / "tree/was-here").exists()
        assert not (layer / "tree/etc/machine-id").exists()
    shown = call("shell", "--before", "session", "--", "ls", "/", cwd=started.project, store=started.store)
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
    """Roots with other inits or without one, after one build of their tests with ``--keep-going``."""
    base = tmp_path_factory.mktemp("others")
    site = Site(write_project(base / "project", OTHER), base / "store")
    busybox = warm.tree("system") / "bin/busybox"
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


def test_a_failure_shows_the_end_of_the_console_and_the_place_of_the_rest(others: tuple[Site, Run]) -> None:
    site, run = others
    assert run.code == 1
    assert run.reasons == {"test:silent": "boot-failed", "test:empty": "boot-failed"}
    silent = next(event["error"] for event in run.events if event.get("node") == "test:silent" and event.get("error"))
    assert "/what never comes/" in silent["message"]
    assert silent["message"].startswith("step 2 (wait for what never comes): timed out after 4 s ")
    assert "process 1 speaks" in silent["detail"]
    (kept,) = (site.store / "failed").glob("test-*/test%3Asilent/boot")
    assert str(kept) in run.stderr
    assert "process 1 speaks" in (kept / "console.log").read_text(encoding="utf-8")
    assert json.loads((kept / "result.json").read_text(encoding="utf-8"))["passed"] is False
    assert re.search(r"test:empty: step 1 .*: the container ended.*\n.*init.*No such file", run.stderr), run.stderr
