"""A real build from repositories elsewhere: fetched once, kept, and built from with no network at all."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.gits import Git, smart_http
from integration.support import DEMO, Run, Warm, build, command, plan, seeds_of

pytestmark = pytest.mark.real

HOUSE = """
[stages.house]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
packages = ["app-misc/hello"]
"""


@dataclass(frozen=True)
class House:
    """A project whose repository is the demo's, in git behind smart HTTP."""

    project: Path
    store: Path
    git: Git


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def house(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    git = Git.make(folder / "git" / "demo", files_of(DEMO / "repo"))
    project = folder / "project"
    project.mkdir()
    store = warm.copy(["seed:debian"], binpkgs=False)
    shutil.copy(warm.lock, project)
    with smart_http(folder / "git") as url:
        head = (DEMO / "stagewright.toml").read_text().partition("# The ebuilds")[0]
        seed = seeds_of(DEMO).partition("# Another one")[0]
        repo = f'[repos.demo]\ngit = "{url}/demo"\n'
        (project / "stagewright.toml").write_text(head + repo + seed + HOUSE)
        yield House(project, store, git)
    shutil.rmtree(store)


def offline(*words: str, house: House) -> Run:
    """A command of Stagewright in a network namespace that has nothing in it."""
    line = ["unshare", "--net", *command(*words, cwd=house.project, store=house.store)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode != 70 and "Traceback" not in done.stderr, done.stderr
    return Run(words, done.returncode, done.stdout, done.stderr)


def test_it_is_pinned_fetched_and_built(house: House) -> None:
    run = build(cwd=house.project, store=house.store)
    assert [(event["node"], event["kind"]) for event in run.events if event["event"] == "NodeStarted"] == [
        ("repo:demo", "pin"),
        ("house", "embedded"),
    ]
    lock = (house.project / "stagewright.lock").read_text()
    assert f'commit = "{house.git("rev-parse", "HEAD")}"' in lock
    steps = plan(cwd=house.project, store=house.store)
    assert steps["house"]["state"] == "cached"
