"""``stagewright init``: each template is free of errors and can be planned at once, without a network."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest
from starter import run

from stagewright.dropin.new_project import from_mirror
from stagewright.errors import Reason, StagewrightError
from stagewright.project.templates import FOLDER, IGNORED, TEMPLATES, copy_template, files_of, ignore_results, name_for

EXAMPLES = Path(__file__).parents[2] / "examples"


def stagewright(*words: object, cwd: Path, code: int = 0) -> str:
    done = run("--store", cwd / "store", *words, cwd=cwd, env=None, timeout=300)
    assert done.returncode == code, done.stderr
    return bytes(done.stdout + done.stderr).decode()


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_can_be_checked_and_planned_at_once(name: str, tmp_path: Path) -> None:
    assert "project my-system" in stagewright("init", name, "my-system", cwd=tmp_path)
    folder = tmp_path / "my-system"
    assert "nothing wrong" in stagewright("-C", folder, "check", cwd=tmp_path)
    assert "0 cached" in stagewright("-C", folder, "plan", cwd=tmp_path)
    written = tomllib.loads((folder / "stagewright.toml").read_text(encoding="utf-8"))
    assert written["project"]["name"] == "my-system"
    ignored = (folder / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/out/", "/stagewright.schema.json", "/stagewright.local.toml"} <= {*ignored}
    assert (folder / "stagewright.toml").read_text(encoding="utf-8").startswith("#:schema stagewright.schema.json\n")
    assert json.loads((folder / "stagewright.schema.json").read_text(encoding="utf-8"))["properties"]
    assert not (folder / "out").exists()
    said = stagewright("init", name, "my-system", cwd=tmp_path, code=2)
    assert "exists already" in said or "not empty" in said


def test_templates_are_examples_with_comments() -> None:
    for name in TEMPLATES:
        if name != "catalyst":
            text = (FOLDER / name / "stagewright.toml").read_text(encoding="utf-8")
            assert len([line for line in text.splitlines() if line.startswith("#")]) > 10, name
            assert (FOLDER / name).resolve().parent == EXAMPLES


def test_results_and_locks_are_not_copied(tmp_path: Path) -> None:
    for file in ("stagewright.toml", "out/iso", "stagewright.lock", "keys/me.pub", "overlay/out/file"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert list(files_of(tmp_path)) == ["keys/me.pub", "overlay/out/file", "stagewright.toml"]


def test_programs_stay_executable(tmp_path: Path) -> None:
    copy_template("debian", tmp_path, "x")
    executable = {file for file in files_of(FOLDER / "debian") if os.access(tmp_path / file, os.X_OK)}
    assert executable == {file for file in files_of(FOLDER / "debian") if os.access(FOLDER / "debian" / file, os.X_OK)}
    assert executable


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/me.pub").write_text("mine", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        copy_template("stage4", tmp_path, "x")
    assert caught.value.reason is Reason.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_an_existing_gitignore_is_completed(tmp_path: Path) -> None:
    file = tmp_path / ".gitignore"
    file.write_text("*.swp", encoding="utf-8")
    assert ignore_results(tmp_path) == []
    assert file.read_text(encoding="utf-8") == "*.swp\n" + IGNORED
    ignore_results(tmp_path)
    assert file.read_text(encoding="utf-8") == "*.swp\n" + IGNORED


def test_names_follow_the_folder() -> None:
    assert name_for(Path("/srv/my box (old)")) == "my-box-old"
    assert name_for(Path("/")) == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["init"], "stagewright init --list"),
        (["init", "stage", "x"], "did you mean 'stage4'?"),
        (["init", "live", "x", "--specs", "."], "--specs is for the template catalyst"),
    ],
)
def test_wrong_words_are_reported(words: list[str], found: str, tmp_path: Path) -> None:
    assert found in stagewright(*words, cwd=tmp_path, code=2)


def test_the_list_names_every_template(tmp_path: Path) -> None:
    said = stagewright("init", "--list", cwd=tmp_path)
    assert [line.split()[0] for line in said.splitlines()] == list(TEMPLATES)
    found = json.loads(stagewright("init", "--list", "--json", cwd=tmp_path))
    assert [item["name"] for item in found] == list(TEMPLATES)


@pytest.mark.slow
def test_own_specs_become_a_project(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "specs", tmp_path / "release")
    said = stagewright("init", "catalyst", "new", "--specs", "release/specs/stage4.spec", cwd=tmp_path)
    assert "project new" in said
    assert "app-editors/vim" in (tmp_path / "new/stagewright.toml").read_text(encoding="utf-8")


def test_what_is_not_there_comes_from_a_mirror(tmp_path: Path) -> None:
    text = 'path = "repos/gentoo"\n\nfile = "builds/x/stage3-amd64-openrc-latest.tar.xz"\narch = "amd64"\n'
    found = from_mirror(text, tmp_path)
    assert 'squashfs = "' in found
    assert 'variant = "stage3-amd64-openrc"' in found
    for file in ("repos/gentoo", "builds/x/stage3-amd64-openrc-latest.tar.xz"):
        (tmp_path / file).mkdir(parents=True)
    assert from_mirror(text, tmp_path) == text
    own = 'file = "builds/x/my-seed.tar.xz"\narch = "amd64"\n'
    assert from_mirror(own, tmp_path) == own
