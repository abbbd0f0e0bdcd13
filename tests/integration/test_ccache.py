"""Compiling through the ccache of a project: it serves the second of two, and no part of it gets into a root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import DEMO, Run, Warm, build, seeds_of, write_project

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("ccache") is None, reason="NOT TESTED: no ccache to put into a root"),
]

PROJECT = """
[repos.demo]
path = "repo"
main = true

[stages.tools]
kind = "stage4"
root = "debian"
root_overlay = ["ccache"]

[stages.first]
kind = "embedded"
root = "tools"
profile = "default/linux/amd64"
packages = ["app-test/compiled"]
binpkgs = false
make_conf = { CC = "gcc" }
ccache = true

[stages.second]
extends = "first"
hostname = "second"

[stages.without]
extends = "first"
root = "debian"
"""

EBUILD = """EAPI=8
DESCRIPTION="A program compiled and linked in two steps"
HOMEPAGE="https://wiki.gentoo.org/"
S="${WORKDIR}"
LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
src_compile() {
	printf 'int main(void) { return 0; }\\n' > main.c || die
	${CC:-${CHOST}-gcc} ${CFLAGS} -c main.c -o main.o || die
	${CC:-${CHOST}-gcc} ${LDFLAGS} main.o -o compiled || die
}
src_install() {
	dobin compiled
}
"""


@dataclass(frozen=True)
class Built:
    store: Path
    run: Run

    @property
    def counts(self) -> dict[str, int]:
        """The statistics of ccache."""
        env = {**os.environ, "CCACHE_DIR": str(next((self.store / "cache/ccache").iterdir()))}
        said = subprocess.run(["ccache", "--print-stats"], env=env, check=True, capture_output=True, text=True).stdout
        return {name: int(value) for name, value in (line.split("\t") for line in said.splitlines())}


def put_ccache(overlay: Path) -> None:
    """This machine's ccache with the libraries that the seed, of the same distribution, may lack."""
    program = shutil.which("ccache") or ""
    libraries = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    names = [program, *(name for name in re.findall(r"=> (/\S+)", libraries) if not re.search(r"/lib(c|m)\.so", name))]
    for name in names:
        target = overlay / "usr" / Path(os.path.realpath(name)).relative_to("/usr")
        target = target.with_name(Path(name).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    shutil.copytree("/usr/lib/ccache", overlay / "usr/lib/ccache", symlinks=True)


@pytest.fixture(scope="module")
def built(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    project = write_project(tmp_path_factory.mktemp("ccache") / "project", seeds_of(DEMO) + PROJECT)
    shutil.copytree(DEMO / "repo", project / "repo")
    shutil.copy(warm.lock, project)
    (project / "repo/app-test/compiled").mkdir(parents=True)
    (project / "repo/app-test/compiled/compiled-1.ebuild").write_text(EBUILD, encoding="utf-8")
    with (project / "repo/profiles/categories").open("a", encoding="utf-8") as stream:
        stream.write("app-test\n")
    put_ccache(project / "ccache")
    store = warm.copy(["seed:debian"], binpkgs=False)
    yield Built(store, build("--keep-going", "--cores=1", cwd=project, store=store, check=False))
    shutil.rmtree(store)


def test_the_second_stage_is_served_by_the_first(built: Built) -> None:
    assert {"first", "second"} <= built.run.built(), built.run
    counts = built.counts
    assert counts["cache_miss"] == 1
    assert counts["direct_cache_hit"] + counts["preprocessed_cache_hit"] == 1


def test_no_part_of_ccache_is_in_the_layers(built: Built) -> None:
    layers = [path.parent for path in (built.store / "layers").glob("*/meta.json")]
    ours = [
        layer
        for layer in layers
        if json.loads((layer / "meta.json").read_text(encoding="utf-8"))["node"] in ("first", "second")
    ]
    assert len(ours) == 2
    assert [path for layer in ours for path in layer.rglob("*ccache*")] == []


def test_a_root_without_ccache_is_reported(built: Built) -> None:
    assert built.run.reasons == {"without": "environment-lacks"}
    assert "ccache" in built.run.stderr
