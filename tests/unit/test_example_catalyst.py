"""The small release of Catalyst's specs: nothing is wrong with it, and spec by spec it has the keys of the whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stagewright.dropin.project import Loaded, load_release
from stagewright.engine.session import Session
from stagewright.store.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples"
RELEASE = EXAMPLES / "catalyst"
GIVEN = {"TIMESTAMP": "20261120T000000Z", "TREEISH": "0" * 40}
REPOS = {"stages": EXAMPLES / "stages/repo"}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """catalyst.conf as ``prepare`` writes it, with a file in place of the seed."""
    seed = tmp_path / "builds/demo/seed-amd64-debian.tar.zst"
    seed.parent.mkdir(parents=True)
    seed.touch()
    conf = tmp_path / "catalyst.conf"
    conf.write_text(
        (RELEASE / "catalyst.conf.in").read_text(encoding="utf-8").replace("@STOREDIR@", str(tmp_path)),
        encoding="utf-8",
    )
    return conf


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The specs with their tokens filled in, as a wrapper leaves them in a temporary folder."""
    folder = tmp_path / "specs"
    folder.mkdir()
    for spec in (RELEASE / "specs").glob("*.spec"):
        text = spec.read_text(encoding="utf-8").replace("@REPO_DIR@", str(RELEASE))
        for token, value in GIVEN.items():
            text = text.replace(f"@{token}@", value)
        (folder / spec.name).write_text(text, encoding="utf-8")
    return folder


def keys(loaded: Loaded, store: Path) -> dict[str, str]:
    """The keys of what is made, by node."""
    plan = Session(loaded.complete(), Store(store)).plan()
    return {name: step.key.digest for name, step in plan.steps.items()}


def test_the_release_as_a_whole_and_spec_by_spec(conf: Path, filled: Path, tmp_path: Path) -> None:
    auto = RELEASE / "tools/catalyst-auto-demo.conf"
    whole = load_release([], [conf, auto], {**GIVEN, "REPO_DIR": str(RELEASE)}, REPOS)
    assert whole.release.problems == []
    known = keys(whole, tmp_path / "store")
    assert {"stage1-amd64-live", "stage4-amd64-greeting", "livecd-stage2-amd64-live.payload"} <= set(known)
    line = ["stage1-live", "stage3-live", "livecd-stage1", "livecd-stage2"]
    for length in range(1, len(line) + 1):
        specs = [filled / f"{name}.spec" for name in reversed(line[:length])]
        alone = keys(load_release(specs, [conf], {}, REPOS), tmp_path / "store")
        assert alone.items() <= known.items()


def test_without_the_seed_the_specs_say_so(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "builds/demo/seed-amd64-debian.tar.zst").unlink()
    loaded = load_release([RELEASE / "specs"], [conf], {**GIVEN, "REPO_DIR": str(RELEASE)}, REPOS)
    missing = loaded.project(lenient=True).missing
    assert any(problem.place and problem.place.file.name == "stage1-live.spec" for problem in missing)


@pytest.mark.parametrize("script", ["prepare", "tools/build-release", "tools/catalyst-auto-demo.conf"])
def test_scripts_are_right_for_bash(script: str) -> None:
    subprocess.run(["bash", "-n", RELEASE / script], check=True)
