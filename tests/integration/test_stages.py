"""The whole line, from a foreign seed to a stage4 on a stage4, with real Portage inside each stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import MINUTES, REPOSITORY, Run, Warm, build, call, copy_project, finished, states

pytestmark = pytest.mark.real

LINE = ("stage1", "stage2", "stage3", "base", "desk")
BESIDE = ("stage3-tarball", "selfhost", "stage1-systemd-starts")


@dataclass(frozen=True)
class Line:
    """The example, its store, and the run that built it from nothing but fetched files."""

    project: Path
    store: Path
    run: Run

    def inside(self, stage: str, *words: str) -> Run:
        """A command in a fresh root of a stage."""
        return call("shell", stage, "--", *words, cwd=self.project, store=self.store, check=False)


@pytest.fixture(scope="module")
def line(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    project = copy_project(REPOSITORY / "examples" / "stages", tmp_path_factory.mktemp("line") / "stages")
    store = warm.copy([], binpkgs=False)
    yield Line(project, store, build(*LINE, *BESIDE, cwd=project, store=store, timeout=40 * MINUTES))
    shutil.rmtree(store)


def test_every_stage_is_built_in_its_order(line: Line) -> None:
    built = [event["node"] for event in finished(line.run.events) if event["node"] in LINE]
    assert built == list(LINE)


@pytest.mark.parametrize("stage", LINE)
def test_the_system_of_each_stage_can_be_built_inside_it(line: Line, stage: str) -> None:
    """``shell`` enters the root that a stage is built in, so each is asked through one more stage on top of it."""
    looks = f'\n[stages.look]\nkind = "stage4"\nroot = "{stage}"\nprofile = "default/linux/amd64"\n'
    file = line.project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + looks, encoding="utf-8")
    try:
        said = line.inside("look", "emerge", "--pretend", "--emptytree", "--color=n", "@system")
    finally:
        file.write_text(text, encoding="utf-8")
    assert said.code == 0, said
    assert "[ebuild" in said.stdout, said
    assert "/tmp/" not in said.stdout


def test_nothing_is_done_again(line: Line) -> None:
    assert set(states(cwd=line.project, store=line.store).values()) <= {"cached"}
    again = build(cwd=line.project, store=line.store)
    assert again.built() == set()


def test_a_changed_package_of_the_last_stage_rebuilds_that_stage_alone(line: Line) -> None:
    before = states(*LINE, cwd=line.project, store=line.store)
    assert set(before.values()) == {"cached"}
    file = line.project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    head, _, tail = text.partition("[stages.desk]")
    file.write_text(head + "[stages.desk]" + tail.replace('"@world"]', '"@world"]\nuse = ["nls"]', 1), encoding="utf-8")
    try:
        changed = states(*LINE, cwd=line.project, store=line.store)
        assert {node for node, state in changed.items() if state == "build"} == {"desk"}
        assert build("desk", cwd=line.project, store=line.store).built() == {"desk"}
    finally:
        file.write_text(text, encoding="utf-8")


def test_the_toolchain_has_built_itself(line: Line) -> None:
    report = json.loads((line.project / "out/selfhost/rebuild.json").read_text(encoding="utf-8"))
    packages = {package["name"].rpartition("-")[0]: package["equal"] for package in report["packages"]}
    assert packages.get("sys-devel/gcc") is True, packages


def test_a_stage1_of_a_systemd_profile_has_started(line: Line) -> None:
    console = (line.project / "out/stage1-systemd-starts/console.log").read_text(errors="replace", encoding="utf-8")
    assert "login:" in console


def test_the_packed_stage3(line: Line) -> None:
    (archive,) = (line.project / "out").rglob("*.tar.zst")
    assert archive.name == "stage3-amd64-1.0.tar.zst"
    beside = {path.name.removeprefix(archive.name) for path in archive.parent.iterdir()}
    assert {".CONTENTS.gz", ".DIGESTS", ".sha256"} <= beside
    (manifest,) = archive.parent.glob("*.json")
    packages = {package["name"] for package in json.loads(manifest.read_text(encoding="utf-8"))["packages"]}
    assert any(name.startswith("sys-devel/gcc-") for name in packages)
