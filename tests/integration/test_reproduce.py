"""``reproduce`` and ``rebuild``: second builds of a small project in git, and what they say about differences."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.archives import busybox_root, folder, records
from integration.gits import Git, smart_http
from integration.support import Run, call, edit
from stagewright.reproduce.members import Container, read_members

BUSYBOX = Path("/bin/busybox")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not BUSYBOX.exists(), reason="NOT TESTED: no static busybox"),
]

PROJECT = """
[seeds.it]
file = "seed.tar"
[stages.system]
kind = "livecd-stage1"
root = "it"
script = "script.sh"
[stages.packed]
kind = "tarball"
root = "system"
compression = "gz"
"""

HEAD = 'format = 1\n[project]\nname = "test"\nversion = "1"\n'
TAR = "system-amd64-1.tar.gz"
PLANTED = "cat /proc/sys/kernel/random/uuid > /usr/share/stamp/built\n"
KNOWN = '[unreproducible.stamp]\npackages = ["app-misc/stamp"]\nfiles = ["/usr/share/stamp/*"]\nwhy = "see bug 1"\n'


class House:
    """A project in the folder ``system`` of a git repository, whose origin is a web server."""

    def __init__(self, base: Path, url: str) -> None:
        self.git = Git.make(base / "project", {".gitignore": "out\n", "README": "x\n"})
        self.git("remote", "add", "origin", f"{url}/project/.git")
        self.project, self.store, self.base = self.git.folder / "system", base / "store", base
        self.project.mkdir()
        (self.project / "stagewright.toml").write_text(HEAD + PROJECT, encoding="utf-8")
        contents = "obj /usr/share/stamp/built 00000000000000000000000000000000 1"
        owned = [folder("usr/share"), folder("usr/share/stamp"), *records("app-misc/stamp-1", CONTENTS=contents)]
        busybox_root(self.project / "seed.tar", BUSYBOX, owned)
        self.script("echo same > /usr/share/stamp/same\n")

    def script(self, text: str) -> None:
        (self.project / "script.sh").write_text(text, encoding="utf-8")
        self.git.commit("a script")

    def call(self, *words: str, **more: Any) -> Run:
        return call(*words, cwd=self.project, store=self.store, check=False, **more)

    def build(self) -> Path:
        assert self.call("build").code == 0
        return self.project / "out" / TAR

    def reproduce(self, path: Path, *words: str) -> Run:
        """Reproduce from a copy of the files in an empty folder, in a new store."""
        store = self.base / "own"
        run = call("reproduce", "--json", *words, str(path), cwd=self.base, store=store, check=False)
        shutil.rmtree(store)
        return run


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with smart_http(tmp_path) as url:
        yield House(tmp_path, url)


def artifact(run: Run) -> dict[str, Any]:
    (found,) = json.loads(run.stdout)["artifacts"]
    assert isinstance(found, dict)
    return found


def test_an_artifact_is_reproduced_from_its_manifest_alone(house: House, tmp_path: Path) -> None:
    built = house.build()
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in (TAR, f"{TAR}.manifest.json"):
        shutil.copy(built.with_name(name), alone)
    house.script("echo later > /usr/share/stamp/same\n")  # another commit does not matter
    run = house.reproduce(alone / TAR)
    found = artifact(run)
    assert run.code == 0 and found["equal"] and found["keys"][0] == found["keys"][1], run
    assert found["compared"] == [TAR]
    (alone / TAR).unlink()
    run = house.reproduce(alone)
    assert run.code == 0 and artifact(run)["equal"], "without the file, its digest is compared"


def test_a_planted_time_stamp_is_named_with_its_package(house: House, tmp_path: Path) -> None:
    house.script(PLANTED)
    if importlib.util.find_spec("zstandard"):  # what a remote has is not taken: it is the original
        with (house.project / "stagewright.toml").open("a", encoding="utf-8") as project:
            project.write(f'[remotes.r]\nurl = "{tmp_path}/remote"\npush = true\n')
        house.git.commit("a remote")
    built = house.build()
    run = house.reproduce(built)
    assert run.code == 1 and "not-reproduced" not in run.stdout
    (found,) = artifact(run)["differences"]
    assert (found["path"], found["what"]) == ("/usr/share/stamp/built", ["content"])
    assert (found["package"], found["node"]) == ("app-misc/stamp-1", "system")
    again = house.call("rebuild", "--compare", "system")
    assert again.code == 1
    assert "  /usr/share/stamp/built: content\n      app-misc/stamp-1, made by system\n" in again.stdout
    with (house.project / "stagewright.toml").open("a", encoding="utf-8") as project:
        project.write(KNOWN)
    house.git.commit("a known difference")
    built = house.build()
    text = call("reproduce", str(built), cwd=house.base, store=tmp_path / "third", check=False)
    assert text.code == 0 and "known: see bug 1" in text.stdout, text
    assert house.call("rebuild", "--compare", "system").code == 0


def test_a_changed_file_is_found_though_its_manifest_is_right(house: House) -> None:
    built = house.build()
    data = built.read_bytes()
    built.unlink()  # a hard link to the store
    built.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    run = house.reproduce(built)
    assert run.code == 1, run
    assert f"{TAR} is not the file that its manifest describes" in run.stderr


def test_projects_that_others_cannot_have_are_refused(house: House) -> None:
    built = house.build()
    edit(house.project, 'compression = "gz"', 'compression = "gz"\nlevel = 8')
    house.build()
    run = house.reproduce(built)
    assert run.code == 2 and "had changes that were not committed" in run.stderr
    run = house.reproduce(built, "--project", str(house.project))
    assert run.code == 0 and artifact(run)["equal"], run
    house.git.commit("committed")
    house.git("remote", "set-url", "origin", "/nowhere")
    house.build()
    run = house.reproduce(built)
    assert run.code == 2 and "no address that others can use" in run.stderr
    assert house.reproduce(built, "--git", str(house.git.folder)).code == 0
    manifest = built.with_name(f"{TAR}.manifest.json")
    data = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(data | {"origin": data["origin"] | {"builder": "0.0.1"}}), encoding="utf-8")
    run = house.reproduce(built, "--git", str(house.git.folder))
    assert run.code == 0 and "built by Stagewright 0.0.1, and now by " in run.stderr
    del data["origin"]
    manifest.write_text(json.dumps(data), encoding="utf-8")
    run = call("reproduce", str(built), cwd=house.base, store=house.base / "none", check=False)
    assert run.code == 2 and "does not say where the artifact comes from" in run.stderr


def test_a_store_with_other_results_is_refused(house: House) -> None:
    """A result would be compared with itself."""
    run = call("reproduce", str(house.build()), cwd=house.base, store=house.store, check=False)
    assert run.code == 2 and "not a store of `stagewright reproduce`" in run.stderr


def test_a_node_is_built_again_and_replaced(house: House) -> None:
    house.script(PLANTED)
    house.build()
    (stamp,) = house.store.glob("layers/*/tree/usr/share/stamp/built")
    before = stamp.read_text(encoding="utf-8")
    assert house.call("rebuild", "--compare", "system", "--json").code == 1
    assert stamp.read_text(encoding="utf-8") == before, "a comparison changes nothing"
    run = house.call("rebuild", "system", "--json")
    assert run.code == 0 and not json.loads(run.stdout)["compared"]
    assert stamp.read_text(encoding="utf-8") != before
    assert house.call("verify").code == 0
    run = house.call("rebuild", "--compare", "packed")
    (member,) = [path for path in read_members(house.project / "out" / TAR, Container.TAR, house.base) if "bui" in path]
    assert run.code == 1 and f"{TAR}:{member}: content" in run.stdout, "it was packed from the former result"
    assert house.call("rebuild", "sytem").code == 2
    assert list(house.store.glob("work/*")) == []
