"""gc removes results that no project needs now; clean removes files that builds left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from integration.archives import write_tar
from integration.support import build, call, edit, states, write_project

pytestmark = pytest.mark.real

PROJECT = """
[seeds.it]
file = "seed.tar"
[stages.live]
kind = "livecd-stage1"
root = "it"
root_overlay = ["overlay"]
[stages.packed]
kind = "tarball"
root = "live"
"""

FAILING = """
[stages.broken]
kind = "livecd-stage1"
root = "it"
root_overlay = ["clash"]
"""


def make_project(folder: Path, text: str, more: str = "", name: str = "test") -> Path:
    write_project(folder, more, name)
    (folder / "overlay/etc").mkdir(parents=True)
    (folder / "overlay/etc/motd").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "project", "one\n", PROJECT)
    write_tar(folder / "seed.tar", [])
    return folder


def results(store: Path) -> set[str]:
    return {meta.parent.name for meta in store.glob("*/*/meta.json")}


def test_gc_frees_the_former_state(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build(cwd=project, store=store)
    former = results(store)
    edit(project, "one", "two", "overlay/etc/motd")
    build(cwd=project, store=store)
    assert len(results(store)) == 5  # the seed, and two states of the rest
    listed = call("gc", "--dry-run", cwd=project, store=store).stdout
    assert "live (livecd-stage1)" in listed and "packed (tarball)" in listed and "seed:it" not in listed
    assert "would free" in listed
    assert len(results(store)) == 5
    assert "freed" in call("gc", cwd=project, store=store).stdout
    assert len(results(store)) == 3
    assert len(results(store) & former) == 1
    assert set(states(cwd=project, store=store).values()) == {"cached"}
    assert "freed 0 B" in call("gc", cwd=project, store=store).stdout


def test_gc_keeps_what_another_project_needs(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    other = make_project(tmp_path / "other", "other\n", PROJECT, "other")
    shutil.copy(project / "seed.tar", other)
    for folder in (project, other):
        build(cwd=folder, store=store)
    assert len(results(store)) == 5
    call("gc", cwd=project, store=store)
    assert len(results(store)) == 5
    assert set(states(cwd=other, store=store).values()) == {"cached"}
    shutil.rmtree(other)
    call("gc", cwd=project, store=store)
    assert len(results(store)) == 3
    assert set(states(cwd=project, store=store).values()) == {"cached"}


def test_gc_keeps_layers_below(project: Path, tmp_path: Path) -> None:
    """A layer that only another one stands on is needed too, though its own node has another key by now."""
    store = tmp_path / "store"
    build("packed", cwd=project, store=store)
    call("gc", cwd=project, store=store)
    assert len(list((store / "layers").iterdir())) == 2


def test_outputs_survive_collection(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build(cwd=project, store=store)
    (archive,) = (project / "out").glob("*.tar.zst")
    size = archive.stat().st_size
    edit(project, "one", "two", "overlay/etc/motd")
    call("gc", cwd=project, store=store)
    assert archive.stat().st_size == size
    assert archive.stat().st_nlink == 1


def test_clean_removes_failed_roots(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_project(project, PROJECT + FAILING)
    (project / "clash").mkdir()
    (project / "clash/usr").write_text("a file where the root has a folder", encoding="utf-8")
    assert build("broken", cwd=project, store=store, check=False).code == 1
    (kept,) = (store / "failed").glob("test-*/broken")
    left = store / "work" / f"{'0' * 64}.1234"
    left.mkdir()
    listed = call("clean", "-n", cwd=project, store=store).stdout
    assert f"failed {kept.parent.name}/broken" in listed
    assert kept.is_dir() and left.is_dir()
    assert "freed" in call("clean", cwd=project, store=store).stdout
    assert not list((store / "failed").glob("*/*"))
    assert not left.exists()
    assert states("it", cwd=project, store=store) == {"seed:it": "cached"}
