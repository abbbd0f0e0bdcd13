"""The examples for Gentoo's own tree: with a tree and a seed in place they are free of errors, and can be planned."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagewright.engine.plan import State
from stagewright.engine.session import Session
from stagewright.errors import ProblemsError
from stagewright.kinds.registry import kinds
from stagewright.project.fields import package_of
from stagewright.project.load import load
from stagewright.store.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples"
REAL = {
    "systemd-stage3": {"builder", "system.prepared", "system", "finished"},
    "stage4-chain": {"base", "desktop", "zfs", "stage4-amd64-zfs"},
}
"""The examples, and some of the nodes that each must have."""


def atoms(value: Any) -> Iterator[str]:
    """Every text of a project that is the atom of a package."""
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key not in ("profile", "path", "authorized_keys", "timezone")]
    if isinstance(value, list):
        for item in value:
            yield from atoms(item)
    elif isinstance(value, str) and (package := package_of(value)):
        yield package


@pytest.fixture(params=REAL)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an example with stand-ins for the files that its README asks for."""
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder, ignore=shutil.ignore_patterns("out", "gentoo", "*.tar.xz"))
    data = tomllib.loads((folder / "stagewright.toml").read_text(encoding="utf-8"))
    for package in atoms(data):
        (folder / "gentoo" / package).mkdir(parents=True)
    for stage in data["stages"].values():
        (folder / "gentoo/profiles" / stage.get("profile", "")).mkdir(parents=True, exist_ok=True)
    (folder / "gentoo/profiles/repo_name").write_text("gentoo\n", encoding="utf-8")
    (folder / "stage3-seed.tar.xz").touch()
    return folder


def test_an_example_can_be_planned(example: Path, tmp_path: Path) -> None:
    plan = Session(load(example, kinds()), Store(tmp_path / "store")).plan()
    assert REAL[example.name] <= set(plan.steps)
    assert all(step.state is State.BUILD for step in plan.steps.values())


def test_without_tree_and_seed_both_are_named(example: Path) -> None:
    shutil.rmtree(example / "gentoo")
    (example / "stage3-seed.tar.xz").unlink()
    by_file = 'file = "stage3-seed.tar.xz"' in (example / "stagewright.toml").read_text(encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(example, kinds())
    said = "\n".join(str(problem) for problem in caught.value.problems)
    assert "'gentoo' does not exist" in said
    assert ("'stage3-seed.tar.xz' does not exist" in said) == by_file
    readme = (example / "README.md").read_text(encoding="utf-8")
    assert "gentoo.git gentoo" in readme
    assert ("stage3-seed.tar.xz" in readme) == by_file


def test_the_example_of_a_release_can_be_planned(tmp_path: Path) -> None:
    for name in ("demo", "release"):
        shutil.copytree(EXAMPLES / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("out"))
    plan = Session(load(tmp_path / "release", kinds()), Store(tmp_path / "store")).plan()
    assert set(plan.steps) == {"seed:system", "bill:system", "tarball", "release:live"}


def test_the_install_cd_can_be_planned(tmp_path: Path) -> None:
    for name in ("demo", "install"):
        shutil.copytree(EXAMPLES / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("out"))
    plan = Session(load(tmp_path / "install", kinds()), Store(tmp_path / "store")).plan()
    assert {"system", "live", "boot", "iso", "net", "test:install"} <= set(plan.steps)
