"""Fixtures of the suite over a real ebuild repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from source_package import install_backend, make_source_package

from gentoo.families import CANDIDATES, Candidate
from gentoo.project import project_text, stages_of, write, write_overlay, write_packaging
from gentoo.sources import DebianSources, choose
from stagewright.portage.repositories import Repository

TREE = "STAGEWRIGHT_GENTOO_TREE"
"""Variable with the path of an ebuild repository: Gentoo's, or one with its profiles, such as a copy of a part."""

BASHRC = """\
# Debian's Python installs where Gentoo's would, and the kernel's headers have the place of its sources.
export DEB_PYTHON_INSTALL_LAYOUT=deb
for headers in /usr/src/linux-headers-*-amd64; do
	if [[ -d ${headers} ]]; then
		KERNEL_DIR=$(echo /usr/src/linux-headers-*-common)
		KBUILD_OUTPUT=${headers}
	fi
done
"""


@dataclass(frozen=True)
class Outcome:
    """The result of one stage: its seconds, and the message of the error, or ""."""

    seconds: float
    error: str


@dataclass(frozen=True)
class Builds:
    """Versions of the candidates, and outcomes by the name of the stage."""

    chosen: Mapping[Candidate, str]
    outcomes: Mapping[str, Outcome]


@pytest.fixture(scope="session")
def tree() -> Path:
    """The real repository; without one, the whole suite is skipped."""
    name = os.environ.get(TREE, "")
    if not name:
        pytest.skip(f"NOT TESTED: no ebuild repository: make test-gentoo TREE=<path>, or set {TREE}")
    path = Path(name).resolve()
    assert (path / "profiles/profiles.desc").is_file(), f"{path} is not an ebuild repository with profiles"
    return path


@pytest.fixture(scope="session")
def repository(tree: Path) -> Repository:
    """The real repository under its name."""
    name = (tree / "profiles/repo_name").read_text(encoding="utf-8").strip()
    return Repository(name, tree, main=True)


@pytest.fixture(scope="session")
def folder() -> Path:
    """A folder that stays between runs: the store, and source files of Debian."""
    path = Path(os.environ.get("STAGEWRIGHT_TEST_STORE", "/var/cache/stagewright-tests")) / "gentoo"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def builds(repository: Repository, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Build all candidates whose source Debian has, with the suite's own ebuilds. Failures are outcomes."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: builds of real ebuilds need root")
    place = tmp_path_factory.mktemp("real-tree")
    (place / "distfiles").mkdir()
    (place / "tree").symlink_to(repository.path)
    tools = write_overlay(place / "overlay", repository.path, repository.name)
    backend, checkout = (tmp_path_factory.mktemp(name) for name in ("backend", "checkout"))
    source = make_source_package(checkout, place / "distfiles", install_backend(backend))
    write_packaging(place / "packaging", repository.name, source)
    _fetch_gpep517(place / "overlay/dev-python/gpep517/files", folder / "gpep517")
    write(place / "confdir/bashrc", BASHRC)
    sources = DebianSources(folder / "debian")
    versions = {one: choose(repository.path, one, sources, place / "distfiles") for one in CANDIDATES}
    chosen = {one: version for one, version in versions.items() if version}
    write(place / "stagewright.toml", project_text(repository.name, stages_of(chosen), tools))
    if (folder / "stagewright.lock").exists():
        shutil.copy(folder / "stagewright.lock", place)
    outcomes = _build(place, folder / "store", stages_of(chosen))
    if (place / "stagewright.lock").exists():
        shutil.copy(place / "stagewright.lock", folder)
    _show(chosen, outcomes)
    return Builds(chosen, outcomes)


def _fetch_gpep517(target: Path, cache: Path) -> None:
    """Put gpep517, which Debian does not have, into the files of its stand-in."""
    if not (cache / "gpep517").exists():
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(cache), "gpep517"]
        subprocess.run(words, check=True)
    shutil.copytree(cache / "gpep517", target / "gpep517")


def _build(place: Path, store: Path, stages: Iterable[str]) -> dict[str, Outcome]:
    """Build everything. Return outcomes by stage; a stage whose result was in the store took no time."""
    options = ["-C", str(place), "--store", str(store)]
    words = [sys.executable, "-m", "stagewright", *options, "build", "--keep-going", "--progress=json"]
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    events = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert not run.returncode or any(event["event"] == "RunFinished" for event in events), "the build did not start"
    spent: dict[str, float] = {}
    errors = dict.fromkeys(stages, "not reached")  # also if something ended the build
    for event in events:
        if event["event"] == "NodeFinished":
            stage = event["node"].removesuffix(".prepared")
            spent[stage] = spent.get(stage, 0) + event["seconds"]
            if event["status"] not in ("built", "cached"):
                errors[stage] = (event.get("error") or {}).get("message", event["status"])
            elif event["node"] in errors:
                del errors[stage]
    return {stage: Outcome(spent.get(stage, 0), errors.get(stage, "")) for stage in stages}


def _show(chosen: Mapping[Candidate, str], outcomes: Mapping[str, Outcome]) -> None:
    """Print the table of the suite."""
    print("\n| family | ebuilds | seconds | result |\n|---|---|---|---|")
    for stage, atoms in stages_of(chosen).items():
        outcome = outcomes.get(stage, Outcome(0, "not reached"))
        names = ", ".join(atom.removeprefix("=") for atom in atoms)
        print(f"| {stage} | {names} | {outcome.seconds:.0f} | {outcome.error or 'built'} |")
    for one in CANDIDATES:
        if one not in chosen:
            print(f"| {one.family} | {one.package} | - | no source file in reach matches the Manifest |")
