"""A real build from repositories elsewhere: fetched once, kept, and built from with no network at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.gits import Git, smart_http
from integration.support import DEMO, Run, Warm, build, call, command, edit, plan, seeds_of, states
from integration.web import Site, serve
from stagewright.portage.metadata import LEAST_EBUILDS

pytestmark = pytest.mark.real

DATA = b"data from upstream\n"

EBUILD = """EAPI=8
DESCRIPTION="A file from upstream"
HOMEPAGE="https://example.org"
SRC_URI="{url}/data-1.txt"
S="${{WORKDIR}}"
LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
src_install() {{
	insinto /usr/share
	doins "${{DISTDIR}}"/data-1.txt
}}
"""

QUIETLY = "sys.excepthook = lambda *said: print(said[1])"
GET = f"python3 -c 'import sys, urllib.request as u; {QUIETLY}; u.urlretrieve(*sys.argv[1:])'"
COMMAND = f'COMMAND="{GET} \\${{URI}} \\${{DISTDIR}}/\\${{FILE}}"\n'
MAKE_CONF = f"FETCH{COMMAND}RESUME{COMMAND}"

HOUSE = """
[distfiles]
mirrors = ["{mirror}/mirror"]

[fetch]
allow = ["{allowed}"]

[stages.house]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
confdir = ["portage"]
packages = ["app-misc/data"]
binpkgs = false
"""


@dataclass(frozen=True)
class House:
    """A project whose repository is the demo's with a package more, in git behind smart HTTP."""

    project: Path
    store: Path
    git: Git
    site: Site
    warm: Warm


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }


def manifest(content: bytes) -> str:
    digests = f"BLAKE2B {hashlib.blake2b(content).hexdigest()} SHA512 {hashlib.sha512(content).hexdigest()}"
    return f"DIST data-1.txt {len(content)} {digests}\n"


@pytest.fixture(scope="module")
def house(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    store = warm.copy(["seed:debian"], binpkgs=False)
    with serve(folder / "site") as site, smart_http(folder / "git") as url:
        site.put("upstream/data-1.txt", DATA)
        git = Git.make(folder / "git" / "demo", files_of(DEMO / "repo"))
        git.write({"app-misc/data/data-1.ebuild": EBUILD.format(url=f"{site.url}/upstream")})
        git.write({"app-misc/data/Manifest": manifest(DATA)})
        git.write({f"app-misc/more/more-{number}.ebuild": EBUILD.format(url="x") for number in range(LEAST_EBUILDS)})
        git.commit("a package with a source")
        project = folder / "project"
        (project / "portage").mkdir(parents=True)
        (project / "portage" / "make.conf").write_text(MAKE_CONF, encoding="utf-8")
        shutil.copy(warm.lock, project)
        head = (DEMO / "stagewright.toml").read_text(encoding="utf-8").partition("[repos.")[0]
        seed = seeds_of(DEMO).partition("[seeds.debian-boot]")[0]
        repo = f'[repos.demo]\ngit = "{url}/demo"\n\n'
        (project / "stagewright.toml").write_text(
            head + repo + seed + HOUSE.format(mirror=site.url, allowed=site.url.removeprefix("http://")),
            encoding="utf-8",
        )
        yield House(project, store, git, site, warm)
    shutil.rmtree(store)


def offline(*words: str, house: House, store: Path | None = None) -> Run:
    """A command of Stagewright in a network namespace that has nothing in it."""
    line = ["unshare", "--net", *command(*words, cwd=house.project, store=store or house.store)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode != 70 and "Traceback" not in done.stderr, done.stderr
    return Run(words, done.returncode, done.stdout, done.stderr)


def forget(store: Path, key: str) -> None:
    shutil.rmtree(store / "layers" / key)


def test_it_is_pinned_fetched_and_built(house: House) -> None:
    refused = call("build", "--locked", cwd=house.project, store=house.store, check=False)
    assert refused.code == 2 and "does not pin repository demo" in refused.stderr
    run = build(cwd=house.project, store=house.store)
    started = [(event["node"], event["kind"]) for event in run.events if event["event"] == "NodeStarted"]
    assert started == [("repo:demo", "pin"), ("house", "embedded")]
    assert f'commit = "{house.git("rev-parse", "HEAD")}"' in (house.project / "stagewright.lock").read_text(
        encoding="utf-8"
    )
    layer = house.store / "layers" / plan(cwd=house.project, store=house.store)["house"]["key"]
    assert (layer / "tree/usr/share/data-1.txt").read_bytes() == DATA
    assert not list((layer / "tree").rglob("md5-cache"))
    tree = house.git("rev-parse", "HEAD^{tree}")
    data: dict[str, Any] = json.loads((layer / "meta.json").read_text(encoding="utf-8"))["data"]
    assert data["repos"]["demo"] == f"git-tree:{tree}"
    assert (house.store / "cache/distfiles/data-1.txt").read_bytes() == DATA


def test_a_warm_store_needs_no_network(house: House) -> None:
    key = plan(cwd=house.project, store=house.store)["house"]["key"]
    forget(house.store, key)
    run = offline("build", "--locked", "--progress=json", house=house)
    assert run.code == 0 and run.built() == {"house"}, run
    assert plan(cwd=house.project, store=house.store)["house"]["key"] == key


def test_metadata_of_the_repository_changes_nothing(house: House) -> None:
    """The metadata that egencache made for this repository is made again after a loss."""
    key = plan(cwd=house.project, store=house.store)["house"]["key"]
    before = sorted(str(path) for path in (house.store / "layers" / key / "tree").rglob("*"))
    (made,) = (house.store / "cache/repos/md5-cache").iterdir()
    entries = {path.name for path in (made / "metadata/md5-cache/app-misc").iterdir()}
    assert {"data-1", "hello-1.0", "more-0"} <= entries
    earlier = made.with_name(f"{made.name.partition('.')[0]}.earlier")
    made.rename(earlier)
    here = Path("metadata/md5-cache/app-misc")
    os.utime(earlier / here / "hello-1.0", (1000, 1000))
    (earlier / here / "data-1").unlink()
    forget(house.store, key)
    assert offline("build", house=house).code == 0
    assert (made / here / "data-1").exists()
    assert (made / here / "hello-1.0").stat().st_mtime == 1000  # taken over from the earlier metadata
    shutil.rmtree(earlier)
    assert sorted(str(path) for path in (house.store / "layers" / key / "tree").rglob("*")) == before


def test_another_machine_fetches_and_then_builds_offline(house: House, tmp_path: Path) -> None:
    key = plan(cwd=house.project, store=house.store)["house"]["key"]
    house.git.change("later")
    store = house.warm.copy(["seed:debian"], binpkgs=False)
    try:
        assert states(cwd=house.project, store=store) == {"seed:debian": "cached", "house": "build"}
        run = offline("build", "--locked", house=house, store=store)
        assert run.code == 1 and "repository demo" in run.stderr and "stagewright fetch" in run.stderr
        assert f"{house.project}/stagewright.toml:" in run.stderr
        told = json.loads(
            call("fetch", "--locked", "--json", "--progress=quiet", cwd=house.project, store=store).stdout
        )
        assert told["stages"]["house"] == {"files": ["data-1.txt"], "untold": None}
        assert offline("build", "--locked", house=house, store=store).code == 0
        assert plan(cwd=house.project, store=store)["house"]["key"] == key
    finally:
        shutil.rmtree(store)


def test_a_missing_source_is_named_offline(house: House) -> None:
    kept = house.store / "cache/distfiles/data-1.txt"
    forget(house.store, plan(cwd=house.project, store=house.store)["house"]["key"])
    kept.rename(house.store / "aside")
    run = offline("build", "--locked", "--progress=json", house=house)
    assert run.reasons == {"house": "fetch-failed"}
    assert "data-1.txt" in run.stderr and "stagewright fetch" in run.stderr
    (house.store / "aside").rename(kept)


def test_a_mirror_of_what_the_project_needs(house: House, tmp_path: Path) -> None:
    """Made of it, and then built from it alone, over HTTP and from the folder."""
    out = house.site.root / "mirror"
    words = ["fetch", "--locked", f"--mirror-out={out}"]
    call(*words, cwd=house.project, store=house.store)
    bucket = hashlib.blake2b(b"data-1.txt").hexdigest()[:2]
    assert files_of(out) == {
        "distfiles/layout.conf": "[structure]\n0=filename-hash BLAKE2B 8\n",
        f"distfiles/{bucket}/data-1.txt": DATA.decode(),
    }
    (out / "distfiles" / bucket / "old-1.txt").write_text("not needed", encoding="utf-8")
    assert "old-1.txt" in call(*words, cwd=house.project, store=house.store).stdout
    assert not (out / "distfiles" / bucket / "old-1.txt").exists()
    shutil.rmtree(house.site.root / "upstream")
    kept = house.store / "cache/distfiles/data-1.txt"
    for mirror in (None, f'folder = "{out}"\n'):
        if mirror:
            edit(house.project, "[distfiles]\n", f"[distfiles]\n{mirror}")
        key = plan(cwd=house.project, store=house.store)["house"]["key"]
        shutil.rmtree(house.store / "layers" / key, ignore_errors=True)
        kept.unlink(missing_ok=True)
        run = build("--locked", cwd=house.project, store=house.store) if not mirror else offline("build", house=house)
        assert run.code == 0, run
    refused = call("fetch", f"--mirror-out={house.project}", cwd=house.project, store=house.store, check=False)
    assert refused.code == 2 and "not a mirror" in refused.stderr


def test_a_wrong_manifest_leaves_the_shared_file_alone(house: House) -> None:
    kept = house.store / "cache/distfiles/data-1.txt"
    kept.write_bytes(DATA)
    house.site.put("upstream/data-1.txt", DATA)
    house.git.write({"app-misc/data/Manifest": manifest(b"something else\n")})
    house.git.commit("a wrong Manifest")
    call("update", "demo", cwd=house.project, store=house.store)
    run = build(cwd=house.project, store=house.store, check=False)
    assert run.reasons == {"house": "fetch-failed"}
    assert kept.read_bytes() == DATA
    assert not [path for path in kept.parent.iterdir() if "checksum_failure" in path.name]


def test_update_lists_the_packages_that_change(house: House) -> None:
    house.git.write({"app-misc/data/Manifest": manifest(DATA)})
    house.git.commit("the right Manifest")
    house.site.put("upstream/data-1.txt", DATA)
    call("update", "demo", cwd=house.project, store=house.store)
    call("build", cwd=house.project, store=house.store)
    house.git.write({"app-misc/data/data-2.ebuild": EBUILD.format(url="https://example.org")})
    house.git.write({"app-misc/data/data-3.ebuild": EBUILD.format(url="x").replace('="amd64"', '="~amd64"')})
    house.git.commit("newer ones")
    said = call("update", "demo", "--packages", cwd=house.project, store=house.store).stdout
    assert re.search(r"^  house: app-misc/data 1 -> 2$", said, re.MULTILINE), said
