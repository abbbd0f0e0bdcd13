"""file: a root from any usual tarball; an archive that is damaged or tries to leave its root is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.archives import Add, compressed, folder, hard_link, link, member, write_tar
from integration.support import Run, build, owner_in_layer, plan, states, write_project

pytestmark = pytest.mark.real

UNSAFE, BAD = "unsafe-archive", "bad-archive"


@dataclass(frozen=True)
class Bench:
    """A project with one seed, a store, and a folder outside that must not change."""

    project: Path
    store: Path
    outside: Path

    def build(self, archive: Path, *, check: bool = True, more: str = "") -> Run:
        write_project(self.project, f'[seeds.it]\nfile = "{archive.name}"\n{more}')
        return build("it", cwd=self.project, store=self.store, check=check)

    def tar(self, members: Iterable[Add]) -> Path:
        return write_tar(self.project / "seed.tar", members)

    @property
    def tree(self) -> Path:
        (layer,) = (self.store / "layers").iterdir()
        return layer / "tree"

    def refused(self, archive: Path, *reasons: str, more: str = "") -> Run:
        """Run a build that must fail for one of the reasons and leave no files."""
        passwd, before = Path("/etc/passwd").stat(), listing(self.outside)
        run = self.build(archive, check=False, more=more)
        assert run.code == 2, run
        assert run.reasons["seed:it"] in reasons, run
        assert not list((self.store / "layers").iterdir())
        assert not [path for path in (self.store / "failed").rglob("*") if path.name in ("evil", "etc", "usr")]
        assert listing(self.outside) == before
        assert Path("/etc/passwd").stat() == passwd
        assert plan("it", cwd=self.project, store=self.store)["seed:it"]["state"] == "build"
        return run


def listing(path: Path) -> list[tuple[str, int, int, int]]:
    found = [(str(entry), entry.lstat()) for entry in [path, *path.rglob("*")]]
    return sorted((name, info.st_mode, info.st_nlink, info.st_mtime_ns) for name, info in found)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sentinel").write_text("as it was", encoding="utf-8")
    (tmp_path / "project").mkdir()
    return Bench(tmp_path / "project", tmp_path / "store", outside)


@pytest.mark.parametrize("program", ["plain", "xz", "zstd", "pzstd", "gzip", "bzip2"])
def test_usual_archives(bench: Bench, program: str) -> None:
    plain = bench.tar([member("usr/tool", b"#!/bin/sh\n", mode=0o4755, uid=7, gid=8), link("usr/there", "/etc")])
    bench.build(plain if program == "plain" else compressed(plain, program))
    assert (bench.tree / "usr/tool").stat().st_mode & 0o7777 == 0o4755
    assert owner_in_layer(bench.tree / "usr/tool") == (7, 8)
    assert (bench.tree / "usr/there").readlink() == Path("/etc")


def test_an_archive_without_a_root(bench: Bench) -> None:
    path = bench.project / "seed.tar"
    with tarfile.open(path, "w") as archive:
        member("README", b"just a text")(archive)
    assert "root file system" in bench.refused(path, BAD).stderr


def test_digest(bench: Bench) -> None:
    archive = bench.tar([])
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    wrong = bench.refused(archive, "digest-mismatch", more=f'sha256 = "{"0" * 64}"')
    assert right in wrong.stderr
    bench.build(archive, more=f'sha256 = "{right}"')


# archives that are refused: all of them are seeds of one project, and one build tries them

HOSTILE: dict[str, Callable[[str], list[Add]]] = {
    "dots": lambda out: [member("../evil", b"x")],
    "many dots": lambda out: [member("usr/" + "../" * 20 + out.lstrip("/") + "/evil", b"x")],
    "absolute": lambda out: [member(f"{out}/evil", b"x")],
    "through absolute link": lambda out: [link("usr/x", out), member("usr/x/evil", b"x")],
    "through dots in link": lambda out: [link("usr/x", "../" * 20 + out), member("usr/x/evil", b"x")],
    "through link to link": lambda out: [link("usr/a", out), link("usr/b", "a"), member("usr/b/evil", b"x")],
    "folder over link": lambda out: [link("usr/x", out), folder("usr/x", mode=0o777), member("usr/x/evil", b"x")],
    "link over folder": lambda out: [folder("x"), member("x/a", b"x"), link("x", out), member("x/evil", b"x")],
    "hard link to passwd": lambda out: [hard_link("usr/x", "/etc/passwd"), member("usr/x", b"evil")],
    "hard link outside": lambda out: [hard_link("usr/x", "../" * 20 + out + "/sentinel")],
    "hard link through link": lambda out: [link("usr/x", out), hard_link("usr/y", "usr/x/sentinel")],
    "long name": lambda out: [member("usr/" + "a" * 200 + "/../../../evil", b"x")],
}

PROGRAMS = ("plain", "xz", "zstd", "gzip", "bzip2")
DAMAGED = [f"{damage}-{program}" for damage in ("truncated", "flipped") for program in PROGRAMS]
NOT_ARCHIVES = {
    "empty": b"",
    "text": b"no archive at all\n" * 1000,
    "header-alone": b"\xfd7zXZ\x00" + b"x" * 1000,
}
UNSUPPORTED = {
    "lz4": b"\x04\x22\x4d\x18" + b"x" * 1000,
    "lzip": b"LZIP\x01" + b"x" * 1000,
    "lzma": b"\x5d\x00\x00\x80" + b"x" * 1000,
}


@dataclass(frozen=True)
class Refused:
    """A project with a seed for each archive that is not to be unpacked, after a build with ``--keep-going``."""

    project: Path
    store: Path
    outside: Path
    run: Run
    before: object

    def check(self, name: str, reason: str) -> str:
        """Assert that a seed was refused for a reason and left nothing; return its message."""
        (error,) = (e["error"] for e in self.run.events if e.get("node") == f"seed:{name}" and e.get("error"))
        assert error["reason"] == reason, error
        assert error["hint"], error
        assert not (self.outside / "evil").exists()
        return str(error["message"])


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    base = tmp_path_factory.mktemp("refused")
    project, store, outside = base / "project", base / "store", base / "outside"
    for folder_made in (project, outside):
        folder_made.mkdir()
    (outside / "sentinel").write_text("as it was", encoding="utf-8")
    archives = {name: damaged(project, name) for name in DAMAGED}
    for name, content in {**NOT_ARCHIVES, **UNSUPPORTED}.items():
        archives[name] = project / f"{name}.tar.xz"
        archives[name].write_bytes(content)
    for name, members in HOSTILE.items():
        slug = name.replace(" ", "-")
        archives[slug] = write_tar(project / f"{slug}.tar", members(str(outside)))
    write_project(project, "".join(f'[seeds.{name}]\nfile = "{path.name}"\n' for name, path in archives.items()))
    before = Path("/etc/passwd").stat(), listing(outside)
    return Refused(
        project, store, outside, build("--keep-going", *archives, cwd=project, store=store, check=False), before
    )


def damaged(folder: Path, name: str) -> Path:
    """Write an archive that is cut off, or in which something is changed."""
    damage, _, program = name.partition("-")
    noise = random.Random(1).randbytes(300_000)
    plain = write_tar(folder / f"{name}.tar", [member(f"usr/{number}", noise) for number in range(3)])
    archive = plain if program == "plain" else compressed(plain, program)
    data = bytearray(archive.read_bytes())
    if damage == "truncated":
        del data[len(data) // 2 + 100 :]
    elif program == "plain":  # a tar has checksums for its headers only
        place = data.index(b"usr/1")
        data[place : place + 5] = b"xxxxx"
    else:
        for place in range(len(data) // 2, len(data) // 2 + 64):
            data[place] ^= 0xFF
    archive.write_bytes(data)
    return archive


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_refused(refused: Refused, name: str) -> None:
    assert name in refused.check(name, BAD)


@pytest.mark.parametrize("name", NOT_ARCHIVES)
def test_other_files_are_refused(refused: Refused, name: str) -> None:
    refused.check(name, BAD)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_compressor_is_named(refused: Refused, name: str) -> None:
    assert f"compressed by {name}" in refused.check(name, BAD)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(refused: Refused, case: str) -> None:
    refused.check(case.replace(" ", "-"), UNSAFE)


def test_refused_archives_leave_no_files(refused: Refused) -> None:
    assert refused.run.code == 2
    assert not list((refused.store / "layers").iterdir())
    assert not [path for path in (refused.store / "failed").rglob("*") if path.name in ("evil", "etc", "usr")]
    assert (Path("/etc/passwd").stat(), listing(refused.outside)) == refused.before
    seeds = len(DAMAGED) + len(NOT_ARCHIVES) + len(UNSUPPORTED) + len(HOSTILE)
    assert list(states(cwd=refused.project, store=refused.store).values()) == ["build"] * seeds


def test_a_file_of_the_same_name_as_a_link(bench: Bench) -> None:
    """The target of the link stays as it is, whichever of the two tar keeps."""
    before = listing(bench.outside)
    bench.build(bench.tar([link("usr/x", f"{bench.outside}/sentinel"), member("usr/x", b"new")]))
    assert listing(bench.outside) == before


def test_strange_but_harmless_archives(bench: Bench) -> None:
    many = [member(f"usr/{number % 100}/{number}", b"") for number in range(20_000)]
    device = member("etc/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o644)
    pipe = member("etc/pipe", type=tarfile.FIFOTYPE)
    odd = "usr/two\nlines \\ 'quoted' \udcff"
    bench.build(bench.tar([*many, device, pipe, member(odd, b"odd"), link("usr/nowhere", "/no/such")]))
    assert sum(len(files) for _, _, files in os.walk(bench.tree / "usr")) == 20_002
    assert (bench.tree / odd).read_bytes() == b"odd"
    assert not (bench.tree / "etc/null").exists(), "no layer has device nodes"
    (meta,) = (bench.store / "layers").glob("*/meta.json")
    node = {"path": "/etc/null", "type": "c", "mode": 0o644, "uid": 0, "gid": 0, "major": 1, "minor": 3}
    assert json.loads(meta.read_text(encoding="utf-8"))["facts"]["devices"] == [node]
    assert (bench.tree / "etc/pipe").is_fifo()


def test_an_archive_with_ids_that_builds_lack(bench: Bench) -> None:
    run = bench.refused(bench.tar([member("usr/x", b"", uid=65536)]), BAD)
    assert "owners that builds do not have" in run.stderr


def test_an_archive_cannot_steer_the_overlay(bench: Bench) -> None:
    """Attributes that mark folders as opaque or moved for overlayfs do not get into layers."""
    spaces = ("trusted", "user")
    steer = {f"SCHILY.xattr.{space}.overlay.{name}": "y" for space in spaces for name in ("opaque", "redirect")}
    kept = {"SCHILY.xattr.user.note": "kept"}
    bench.build(bench.tar([folder("etc/x", pax_headers={**steer, **kept})]))
    assert os.listxattr(bench.tree / "etc/x") == ["user.note"]
