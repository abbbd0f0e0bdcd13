"""The demo from its seeds to a machine that answers, and what is built again after which change."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.processes import file_digests
from integration.support import DEMO, Run, Warm, build, call, copy_project, edit, parse_events, plan, states
from stagewright.vm.console_lines import read_lines

pytestmark = pytest.mark.real

AFTER_SYSTEM = {"system", "live", "live+boot.squashfs", "iso", "pxe"}
TEST = "test:iso-uefi"


@dataclass(frozen=True)
class Built:
    """The demo on its ready seeds and payload, after its first build."""

    project: Path
    store: Path
    run: Run

    def to_build(self) -> set[str]:
        plan = states(cwd=self.project, store=self.store)
        return {node for node, state in plan.items() if state == "build"}

    def squashfs(self) -> Path:
        key = plan("iso", cwd=self.project, store=self.store)["live+boot.squashfs"]["key"]
        return self.store / "artifacts" / key / "tree" / "image.squashfs"

    def log(self, node: str) -> str:
        return call("log", node, cwd=self.project, store=self.store).stdout


@pytest.fixture(scope="module")
def demo(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    project = copy_project(DEMO, tmp_path_factory.mktemp("demo") / "demo")
    shutil.copy(warm.lock, project)
    store = warm.copy(["seed:debian", "seed:debian-boot", "boot"], binpkgs=True)
    yield Built(project, store, build(cwd=project, store=store))
    shutil.rmtree(store)


def names_in(image: Path) -> set[str]:
    done = subprocess.run(["unsquashfs", "-d", "", "-l", image], check=True, capture_output=True, text=True)
    return {line.removeprefix("/") for line in done.stdout.splitlines()}


@pytest.mark.boot
def test_it_is_built_and_boots(demo: Built) -> None:
    assert demo.run.built() == {*AFTER_SYSTEM, TEST}
    out = demo.project / "out"
    assert [path.name for path in out.glob("*.iso")] == ["demo-iso-amd64-1.0.iso"]
    console = (out / "iso-uefi/console.log").read_text(errors="replace", encoding="utf-8")
    assert "hello, there, from a program that Portage built" in console
    report = json.loads((out / "iso-uefi/result.json").read_text(encoding="utf-8"))
    assert report["passed"]
    parts = {"firmware", "kernel", "initramfs", "switch-root"} & report["milestones"].keys()
    assert len(parts) >= 3, report["milestones"]  # a serial port can lose characters while the kernel prints fast
    lines = list(read_lines((out / "iso-uefi/console.timed.log").read_text(encoding="utf-8")))
    assert [line.seconds for line in lines] == sorted(line.seconds for line in lines)
    assert any("hello, there, from a program that Portage built" in line.text for line in lines)
    chart = ET.parse(out / "iso-uefi/boot.svg").getroot()
    shown = {text.text for text in chart.iter("{http://www.w3.org/2000/svg}text")}
    assert {"boot", "steps of the test"} <= shown
    assert any(str(text).startswith("firmware and loader (") for text in shown)


def test_binary_packages_give_the_same_image(demo: Built, warm: Warm) -> None:
    """The warm store compiled every package; this build takes them from the cache."""
    log = demo.log("system")
    assert ">>> Emerging binary (" in log and ">>> Emerging (" not in log
    for node in ("live+boot.squashfs", "iso"):
        ours = demo.store / "artifacts" / warm.keys[node] / "tree"
        assert file_digests(ours) == file_digests(warm.tree(node))


def test_events_are_complete(demo: Built) -> None:
    (record,) = (demo.store / "events").glob("*.jsonl")
    events = parse_events(record.read_text(encoding="utf-8").splitlines())
    assert events == [event for event in demo.run.events if event["event"] != "Published"]  # after the end of the run
    assert [events[0]["event"], events[-1]["event"]] == ["RunStarted", "RunFinished"]
    assert events[-1]["status"] == "built"
    for name in ("NodeStarted", "NodeFinished"):
        assert {event["node"] for event in events if event["event"] == name} == set(events[0]["nodes"])
    steps = [event for event in events if event["event"] == "NodeProgress" and event["node"] == "system"]
    assert all(1 <= step["done"] <= step["total"] for step in steps)
    assert {step["name"] for step in steps} >= {"sys-apps/busybox-1.35.0", "app-misc/hello-1.0"}


def test_results_that_share_files_are_whole(demo: Built) -> None:
    """The network set has hard links to files of the payload and of the squashfs."""
    assert call("verify", cwd=demo.project, store=demo.store).code == 0


def test_a_second_build_does_nothing(demo: Built) -> None:
    before = len(list((demo.store / "events").iterdir()))
    assert demo.to_build() == set()
    again = build(cwd=demo.project, store=demo.store)
    assert {event["event"] for event in again.events} <= {"Published"}
    assert len(list((demo.store / "events").iterdir())) == before


def test_no_compiler_and_no_portage_in_the_image(demo: Built) -> None:
    names = names_in(demo.squashfs())
    assert {"bin/busybox", "usr/bin/hello", "usr/bin/greet"} <= names | {name.removeprefix("usr/") for name in names}
    assert any(name.startswith(("lib/modules/", "usr/lib/modules/")) for name in names)
    strangers = ("usr/bin/gcc", "usr/bin/emerge", "usr/bin/python3", "usr/include", "var/db/pkg", "etc/portage")
    places = ("var/db/repos", "mnt/target", "var/cache/distfiles", "var/cache/edb", "var/lib/portage")
    assert not names.intersection((*strangers, *places))
    assert not [name for name in names if "gcc" in name or "portage" in name]


def test_comments_change_nothing(demo: Built) -> None:
    edit(demo.project, "\n[stages.live]\n", "\n# A comment,\n# in other words.\n[stages.live]\n")
    assert demo.to_build() == set()


def test_an_overlay_file_rebuilds_what_it_is_in(demo: Built) -> None:
    motd = demo.project / "overlays/live/etc/motd"
    old = motd.read_text(encoding="utf-8")
    motd.write_text("Other words.\n", encoding="utf-8")
    try:
        assert demo.to_build() == {*AFTER_SYSTEM, TEST} - {"system"}
        step = plan(cwd=demo.project, store=demo.store)["live"]
        assert [reason["entry"] for reason in step["why"]] == ["files.overlays/live"]
    finally:
        motd.write_text(old, encoding="utf-8")
    assert demo.to_build() == set()


def test_a_use_flag_rebuilds_what_depends_on_it(demo: Built) -> None:
    edit(demo.project, 'use = ["-shout"]', 'use = ["shout"]')
    steps = plan(cwd=demo.project, store=demo.store)
    assert demo.to_build() == {*AFTER_SYSTEM, TEST}
    assert steps["system"]["why"] == [{"entry": "settings.use", "old": ["-shout"], "new": ["shout"]}]
    assert [reason["entry"] for reason in steps["live"]["why"]] == ["inputs.root"]
    shown = call("plan", cwd=demo.project, store=demo.store).stdout
    assert 'settings.use: ["-shout"] -> ["shout"]' in shown
    assert build("iso", "pxe", cwd=demo.project, store=demo.store).built() == AFTER_SYSTEM
    assert demo.to_build() == {TEST}
    hello = next(name for name in names_in(demo.squashfs()) if name.endswith("bin/hello"))
    program = subprocess.run(["unsquashfs", "-cat", demo.squashfs(), hello], check=True, capture_output=True).stdout
    tool = demo.project / "hello"
    tool.write_bytes(program)
    tool.chmod(0o755)
    said = subprocess.run([tool, "there"], check=True, capture_output=True, text=True).stdout
    assert said.startswith("HELLO, THERE")


def test_unchanged_packages_come_from_the_binary_cache(demo: Built) -> None:
    """After the change of the flag: only the C program was compiled."""
    log = demo.log("system").splitlines()
    compiled = {line.split()[5].partition("::")[0] for line in log if line.startswith(">>> Emerging (")}
    assert compiled == {"app-misc/hello-1.0"}


def test_the_former_state_is_still_there(demo: Built) -> None:
    edit(demo.project, 'use = ["shout"]', 'use = ["-shout"]')
    assert demo.to_build() == set()
