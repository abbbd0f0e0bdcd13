"""Altered results: ``verify`` names what differs, and ``build`` makes them again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import Run, build, call, command, notices, write_project
from stagewright.store.in_use import in_use
from stagewright.store.store import Store

pytestmark = pytest.mark.real

PROJECT = """
[seeds.base]
file = "root"

[stages.packed]
kind = "tarball"
root = "base"
compression = "none"
"""


@dataclass(frozen=True)
class House:
    """A project with one layer and one artifact, and a store in which both are built."""

    project: Path
    store: Path

    def call(self, *words: str) -> Run:
        return call(*words, cwd=self.project, store=self.store, check=False)

    def build(self, *words: str) -> Run:
        return build(*words, cwd=self.project, store=self.store)

    @property
    def file(self) -> Path:
        """A file of the layer."""
        (path,) = self.store.glob("layers/*/tree/etc/motd")
        return path

    @property
    def tarball(self) -> Path:
        """The tarball in the store."""
        (path,) = self.store.glob("artifacts/*/tree/base-amd64-1.tar")
        return path

    @property
    def shipped(self) -> Path:
        return self.project / "out/base-amd64-1.tar"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> House:
    base = tmp_path_factory.mktemp("verify")
    project = write_project(base / "project", PROJECT)
    (project / "root/etc").mkdir(parents=True)
    (project / "root/etc/motd").write_text("welcome\n", encoding="utf-8")
    house = House(project, base / "store")
    house.build()
    return house


@pytest.fixture
def house(built: House, tmp_path: Path) -> Iterator[House]:
    """A copy of the house, which the test may damage."""
    subprocess.run(["cp", "-a", built.project, built.store, tmp_path], check=True)
    yield House(tmp_path / "project", tmp_path / "store")
    shutil.rmtree(tmp_path / "store")


def alter(path: Path) -> None:
    """Change one byte of a file, and nothing that stat(2) shows but the time of the change."""
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_an_altered_byte_in_a_layer(house: House) -> None:
    """It is named and set aside with the tarball that was made of it; a build then makes the same again."""
    before = house.shipped.read_bytes()
    alter(house.file)
    run = house.call("verify")
    assert run.code == 4, run
    assert "seed:base: tree/etc/motd: content: expected " in run.stdout
    assert "packed: made from: expected a whole result, found a damaged one (seed:base)" in run.stdout
    assert house.build().built() == {"seed:base", "packed"}
    assert house.shipped.read_bytes() == before


def test_a_build_sets_damaged_results_aside(house: House) -> None:
    """It looks at an artifact before it ships it, and at the files of a layer if it is asked to."""
    before = house.shipped.read_bytes()
    shutil.rmtree(house.project / "out")
    alter(house.tarball)
    run = house.build()
    assert run.built() == {"packed"}
    assert any("is damaged; it was moved to" in text for text in notices(run)), run
    assert house.shipped.read_bytes() == before
    alter(house.file)
    assert house.build("--verify").built() == {"seed:base", "packed"}
    alter(house.tarball)
    run = house.build("--verify")
    assert run.built() == {"packed"}
    read = [event["name"] for event in run.events if event["event"] == "NodeProgress" and event["node"] == "verify"]
    assert sorted(read) == ["packed, damaged", "seed:base, whole"], "each result is read once"


@pytest.mark.parametrize("damaged", ["a layer", "an artifact"])
def test_a_damaged_result_in_use_is_neither_published_nor_built_on(house: House, damaged: str) -> None:
    """For example while a shell is open in the root."""
    shutil.rmtree(house.project / "out")
    alter(house.file if damaged == "a layer" else house.tarball)
    key = (house.file.parents[2] if damaged == "a layer" else house.tarball.parents[1]).name
    with in_use(Store(house.store), [key]):
        run = build("--verify", cwd=house.project, store=house.store, check=False)
    assert run.code == 4 and "in use by another process" in run.stderr, run
    assert not (house.project / "out").exists()
    assert house.file.exists() and house.tarball.exists()
    assert house.build("--verify").built() == ({"seed:base", "packed"} if damaged == "a layer" else {"packed"})
    assert house.shipped.exists()


def test_damaged_results_can_stay(house: House) -> None:
    house.file.chmod(0o600)
    run = house.call("verify", "--store", "--keep", "--json")
    assert run.code == 4
    (result,) = (one for one in json.loads(run.stdout)["results"] if one["state"] == "damaged")
    assert result["node"] == "seed:base"
    assert [(one["path"], one["what"], one["expected"], one["found"]) for one in result["differences"]] == [
        ("tree/etc/motd", "mode", "0644", "0600")
    ]
    assert house.file.exists()


def broken(house: House, path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command while each read of a file fails with EIO."""
    broken_file = ["unshare", "--mount", sys.executable, str(Path(__file__).with_name("broken_file.py")), str(path)]
    if subprocess.run([*broken_file, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: FUSE file systems cannot be mounted here")
    line = [*broken_file, *command(*words, cwd=house.project, store=house.store)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert "Traceback" not in done.stderr and done.returncode != 70, done
    return done


@pytest.mark.parametrize("part", ["a layer", "an artifact"])
def test_a_file_on_a_broken_disk_is_named(house: House, part: str) -> None:
    path = house.file if part == "a layer" else house.tarball
    done = broken(house, path, "verify")
    assert done.returncode == 4, done
    assert f"{path.name}: content: expected " in done.stdout
    assert "found unreadable (Input/output error)" in done.stdout


def test_a_build_on_a_broken_disk_fails_with_the_path(house: House) -> None:
    write_project(house.project, PROJECT + '\n[stages.again]\nkind = "tarball"\nroot = "base"\nname = "again"\n')
    done = broken(house, house.file, "build", "--progress=plain", "again")
    assert done.returncode == 1, done
    assert "etc/motd: " in done.stderr and "Input/output error" in done.stderr
    assert not (house.project / "out/again.tar.zst").exists()
