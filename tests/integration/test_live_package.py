"""A live package: fetched from git before the build, pinned by its commit, and built without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.gits import Git, smart_http
from integration.support import DEMO, SEED, Run, Warm, call, seeds_of, states, write_project
from stagewright.project.lock import Lock

pytestmark = pytest.mark.real

ECLASS = """# A small git-r3.eclass: the same folders, references and variables, for one repository.
PROPERTIES+=" live"
BDEPEND="dev-vcs/git"
EXPORT_FUNCTIONS src_unpack
git-r3_src_unpack() {
	local name=${EGIT_REPO_URI##*/} ref=refs/git-r3/${CATEGORY}/${PN}/${SLOT}/__main__
	local -x GIT_DIR=${EGIT3_STORE_DIR}/${name%.git}.git
	local commit=EGIT_OVERRIDE_COMMIT_${name^^}
	addwrite "${EGIT3_STORE_DIR}"
	if [[ ! ${EVCS_OFFLINE} ]]; then
		git init --quiet --bare || die
		git fetch --quiet "${EGIT_REPO_URI}" +HEAD:refs/git-r3/HEAD || die
	fi
	git update-ref "${ref}" "${!commit:-refs/git-r3/HEAD}" || die
	mkdir -p "${S}" && git --work-tree="${S}" checkout --quiet --force "${ref}" -- . || die
}
"""

EBUILD = """EAPI=8
inherit git-r3
DESCRIPTION="A file from a git repository"
HOMEPAGE="https://example.org"
EGIT_REPO_URI="{url}/live"
LICENSE="0BSD"
SLOT="0"
src_install() {{
	insinto /usr/share
	doins live.txt
}}
"""

HOUSE = """
[repos.demo]
path = "repo"

[fetch]
allow = ["{allowed}"]

[stages.house]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
confdir = ["confdir"]
packages = ["app-misc/live"]
online = ["app-misc/live"]
"""


@dataclass(frozen=True)
class House:
    """A project with a live package, and the git repository of its source."""

    project: Path
    store: Path
    git: Git

    def run(self, *words: str, check: bool = True) -> Run:
        return call(*words, cwd=self.project, store=self.store, check=check)

    @property
    def commit(self) -> str:
        pin: dict[str, str] = Lock.load(self.project).online["app-misc/live"]["commits"]
        return pin["LIVE"]

    @property
    def text(self) -> str:
        (file,) = self.store.glob("layers/*/tree/usr/share/live.txt")
        return file.read_text(encoding="utf-8")


def write_eclass(repo: Path) -> None:
    """Write git-r3.eclass: that of a real repository if there is one, otherwise the small one."""
    (repo / "eclass").mkdir(exist_ok=True)
    tree = os.environ.get("STAGEWRIGHT_GENTOO_TREE", "")
    if tree:
        shutil.copy(Path(tree, "eclass/git-r3.eclass"), repo / "eclass")
    else:
        (repo / "eclass/git-r3.eclass").write_text(ECLASS, encoding="utf-8")


@pytest.fixture
def house(seed: Warm, tmp_path: Path) -> Iterator[House]:
    store = seed.copy(["seed:debian"], binpkgs=False)
    with smart_http(tmp_path / "git") as url:
        git = Git.make(tmp_path / "git/live", {"live.txt": "one\n"})
        text = seeds_of(SEED) + HOUSE.format(allowed=url.removeprefix("http://"))
        project = write_project(tmp_path / "project", text, "house")
        shutil.copytree(DEMO / "repo", project / "repo")
        write_eclass(project / "repo")
        (project / "repo/app-misc/live").mkdir()
        (project / "repo/app-misc/live/live-9999.ebuild").write_text(EBUILD.format(url=url), encoding="utf-8")
        (project / "confdir/profile").mkdir(parents=True)
        (project / "confdir/profile/package.provided").write_text("dev-vcs/git-2.39\n", encoding="utf-8")
        (project / "confdir/package.accept_keywords").write_text("app-misc/live **\n", encoding="utf-8")
        shutil.copy(seed.lock, project)
        yield House(project, store, git)
    shutil.rmtree(store)


def test_a_live_package_is_pinned_and_built_without_a_network(house: House) -> None:
    first = house.git("rev-parse", "HEAD")
    locked = house.run("build", "house", "--locked", check=False)
    assert locked.code and "live package app-misc/live" in locked.stderr
    house.run("build", "house")
    assert (house.commit, house.text) == (first, "one\n")

    house.git.write({"live.txt": "two\n"})
    second = house.git.commit("another text")
    assert states("house", cwd=house.project, store=house.store)["house"] == "cached"
    shutil.rmtree(house.store / "cache/live")
    house.run("rebuild", "house")
    assert (house.commit, house.text) == (first, "one\n")

    house.run("update", "app-misc/live")
    assert house.commit == second
    shutil.rmtree(house.git.folder)
    house.run("build", "house")
    texts = {file.read_text(encoding="utf-8") for file in house.store.glob("layers/*/tree/usr/share/live.txt")}
    assert texts == {"one\n", "two\n"}

    shutil.rmtree(house.store / "cache/live")
    gone = house.run("rebuild", "house", check=False)
    assert gone.code and "its source cannot be fetched" in gone.stderr
