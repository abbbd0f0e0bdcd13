"""Under sudo, what a build writes into the project of a user belongs to this user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from roots import as_root
from starter import run

from stagewright.engine.project_files import give_to_invoker

USER, GROUP = 4321, 4322

pytestmark = as_root


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user who started the command by sudo, with a result: a file, and one that the store has too."""
    monkeypatch.setenv("SUDO_UID", str(USER))
    monkeypatch.setenv("SUDO_GID", str(GROUP))
    folder = tmp_path / "project"
    (folder / "out/pxe").mkdir(parents=True)
    (folder / "out/pxe/boot.ipxe").touch()
    (tmp_path / "stored").touch()
    (folder / "out/image.iso").hardlink_to(tmp_path / "stored")
    (folder / "out/passwd").symlink_to("/etc/passwd")
    os.chown(folder, USER, GROUP)
    return folder


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in folder.rglob("*")}


def test_results_belong_to_the_user_and_files_of_the_store_do_not(folder: Path) -> None:
    give_to_invoker(folder / "out")
    found = {path.name: path.lstat().st_uid for path in [folder / "out", *(folder / "out").rglob("*")]}
    assert found == {"out": USER, "pxe": USER, "boot.ipxe": USER, "image.iso": 0, "passwd": USER}
    assert Path("/etc/passwd").stat().st_uid == 0
    (folder / "stagewright.lock").touch()
    give_to_invoker(folder / "stagewright.lock")
    assert (folder / "stagewright.lock").stat().st_gid == GROUP


@pytest.mark.parametrize("wrong", ["", "0", "-1", "root", "4321x", "٣"])
def test_without_a_user_nothing_changes(folder: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SUDO_UID", wrong)
    give_to_invoker(folder / "out")
    assert owners(folder) == {(0, 0)}


def test_the_project_of_another_user_keeps_its_owner(folder: Path) -> None:
    os.chown(folder, USER + 1, GROUP)
    give_to_invoker(folder / "out")
    assert owners(folder) == {(0, 0)}


def test_a_new_project_belongs_to_the_user(folder: Path) -> None:
    sudo = {**os.environ}
    for words in (("init", "stage4", "new"), ("-C", "there", "init", "stage4")):
        (folder / "there").mkdir(exist_ok=True)
        os.chown(folder / "there", USER, GROUP)
        done = run(*words, cwd=folder, env=sudo, timeout=60)
        assert done.returncode == 0, done.stderr
    assert owners(folder / "new") == owners(folder / "there") == {(USER, GROUP)}
