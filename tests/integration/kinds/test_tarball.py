"""tarball: everything of the root comes back from it, and it has the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from integration.archives import Add, folder, hard_link, link, member, records, write_tar
from integration.processes import file_digests
from integration.support import build, call, edit, write_project

pytestmark = pytest.mark.real

EPOCH = 1795132800  # source_date_epoch of the project, 2026-11-20

NOBODY = 0xFFFFFFFF
CAP_NET_RAW = b"\x01\x00\x00\x02" + (1 << 13).to_bytes(4, "little") + bytes(12)
ACL = b"".join(  # linux/posix_acl_xattr.h: a version, then tag, rights and id of each entry; user 1234 may read
    [b"\2\0\0\0", *(struct.pack("<HHI", *entry) for entry in ((1, 7, NOBODY), (2, 4, 1234), (4, 5, NOBODY)))]
    + [struct.pack("<HHI", *entry) for entry in ((16, 5, NOBODY), (32, 5, NOBODY))]
)

PROJECT = """
[seeds.it]
file = "seed.tar"
[stages.packed]
kind = "tarball"
root = "it"
[stages.squeezed]
kind = "tarball"
root = "it"
compression = "xz"
"""


def attribute(name: str, value: bytes) -> dict[str, str]:
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")}


def strange_tree() -> list[Add]:
    long = "usr/" + "/".join(["long" * 20] * 3) + "/" + "n" * 240
    return [
        member("usr/setuid", b"#!/bin/sh\n", mode=0o6755),
        member("usr/owned", b"x", uid=12345, gid=54321, mode=0o640),
        member("usr/old", b"old", mtime=1_000_000_000),
        member("usr/new", b"from the future", mtime=EPOCH + 100_000_000),
        member("usr/ping", b"ping", pax_headers=attribute("security.capability", CAP_NET_RAW)),
        member("usr/listed", b"acl", pax_headers=attribute("system.posix_acl_access", ACL)),
        member("usr/noted", b"n", pax_headers=attribute("user.note", b"a note")),
        member(long, b"long"),
        member("usr/\udcff\udcfe", b"not UTF-8"),
        member("usr/new\nline", b""),
        member("usr/-rf *", b""),
        hard_link("usr/twin", "usr/owned"),
        link("usr/nowhere", "/no/such/place"),
        link("usr/up", "../../.."),
        member("dev-null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("block", type=tarfile.BLKTYPE, devmajor=7, devminor=9, mode=0o600),
        member("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        folder("sticky", mode=0o1777),
        folder("closed", mode=0o000),
        folder("empty", uid=5, gid=6),
        *records("app-misc/it-1-r2", USE="a b", SLOT="0"),
    ]


def describe(tree: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in [tree, *(Path(top, name) for top, folders, files in os.walk(tree) for name in (*folders, *files))]:
        info = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        links = info.st_nlink if path.is_file() else 0
        owner, moment = (info.st_uid, info.st_gid), min(info.st_mtime, EPOCH)
        facts = (info.st_mode, owner, info.st_rdev, links, moment, attributes, content)
        found[str(path.relative_to(tree))] = facts
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("tarball")
    project = write_project(base / "project", PROJECT)
    write_tar(project / "seed.tar", strange_tree())
    build(cwd=project, store=base / "store")
    return project, base / "store"


def unpack(archive: Path, target: Path) -> Path:
    target.mkdir()
    words = ["tar", "-x", "--numeric-owner", "-p", "--xattrs", "--xattrs-include=*", "-f", archive, "-C", target]
    subprocess.run(words, check=True)
    return target


@pytest.mark.parametrize("suffix", ["zst", "xz"])
def test_everything_comes_back(suffix: str, built: tuple[Path, Path], tmp_path: Path) -> None:
    project, _ = built
    archive = project / "out" / f"it-amd64-1.tar.{suffix}"
    again = describe(unpack(archive, tmp_path / "again"))
    original = describe(unpack(project / "seed.tar", tmp_path / "original"))
    for name in (".", "usr", "etc"):  # the seed has no entries for them
        del again[name], original[name]
    for name in ("dev-null", "block"):  # Stagewright makes these members
        again[name], original[name] = (facts[name][:4] for facts in (again, original))
    assert again == original
    assert again["usr/ping"][5] == {"security.capability": CAP_NET_RAW}
    assert again["usr/listed"][5] == {"system.posix_acl_access": ACL}
    assert again["usr/new"][4] == EPOCH


def test_same_bytes_twice(built: tuple[Path, Path], tmp_path: Path) -> None:
    project, _ = built
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (project / "out").iterdir()}
    other = tmp_path / "project"
    other.mkdir()
    for name in ("stagewright.toml", "seed.tar", "stagewright.lock"):
        shutil.copy(project / name, other)
    build("--cores=1", cwd=other, store=tmp_path / "store")
    assert first == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (other / "out").iterdir()}
    suffixes = ["", ".CONTENTS.gz", ".DIGESTS", ".manifest.json", ".sha256"]
    assert sorted(first) == [f"it-amd64-1.tar.{kind}{suffix}" for kind in ("xz", "zst") for suffix in suffixes]


def test_builds_with_the_ids_of_the_host_give_the_same_bytes(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Owners, capabilities of files, device nodes: no part of the user namespace is in a result."""
    project, _ = built
    shutil.copytree(project, tmp_path / "project", ignore=shutil.ignore_patterns("out"))
    run = build(cwd=tmp_path / "project", store=tmp_path / "store", env={"STAGEWRIGHT_AS_HOST_ROOT": "1"})
    assert "warning: --as-host-root" in run.stderr
    (tree,) = (tmp_path / "store/layers").glob("*/tree")
    assert tree.stat().st_uid == 0
    assert file_digests(tmp_path / "project/out") == file_digests(project / "out")


def test_digests_match_those_of_the_usual_tools(built: tuple[Path, Path]) -> None:
    out = built[0] / "out"
    for name in ("it-amd64-1.tar.xz", "it-amd64-1.tar.zst"):
        subprocess.run(["sha256sum", "--check", "--strict", f"{name}.sha256"], cwd=out, check=True)
        files = (name, f"{name}.CONTENTS.gz")
        expected = "".join(
            f"# {title} HASH\n"
            + subprocess.run([tool, file], cwd=out, check=True, capture_output=True, text=True).stdout
            for file in files
            for title, tool in (("BLAKE2B", "b2sum"), ("SHA512", "sha512sum"))
        )
        assert (out / f"{name}.DIGESTS").read_text(encoding="utf-8") == expected


def test_the_listing_is_that_of_tar(built: tuple[Path, Path]) -> None:
    archive = built[0] / "out/it-amd64-1.tar.zst"
    packed = (built[0] / "out/it-amd64-1.tar.zst.CONTENTS.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # neither a name nor a time, as by gzip -n (RFC 1952)
    words = ["tar", "-tvvf", archive, "--numeric-owner", "--quoting-style=escape"]
    listed = subprocess.run(
        words, env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}, check=True, capture_output=True
    )
    ours = [re.sub(rb"^(.{10})[*.+]", rb"\1", line).split() for line in gzip.decompress(packed).splitlines()]
    assert ours == [line.split() for line in listed.stdout.splitlines()]


def test_the_manifest_describes_the_tarball(built: tuple[Path, Path]) -> None:
    project, _ = built
    data = json.loads((project / "out/it-amd64-1.tar.xz.manifest.json").read_text(encoding="utf-8"))
    archive = project / "out" / data["artifact"]["file"]
    assert data["artifact"]["size"] == archive.stat().st_size
    assert data["artifact"]["digests"]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert data["contents"]["file"] == f"{archive.name}.CONTENTS.gz"
    assert data["project"] == {"name": "test", "version": "1", "source_date_epoch": EPOCH}
    seed, packed = data["lineage"]
    assert (seed["id"], seed["kind"], seed["inputs"]) == ("seed:it", "file", {})
    sha256 = hashlib.sha256((project / "seed.tar").read_bytes()).hexdigest()
    assert seed["archive"] == {"file": "seed.tar", "sha256": sha256}
    assert (packed["id"], packed["kind"], packed["inputs"]) == ("squeezed", "tarball", {"root": "seed:it"})
    assert (data["stage"], data["key"]) == (packed["id"], packed["key"])
    assert [(package["name"], package["use"]) for package in data["packages"]] == [("app-misc/it-1-r2", ["a", "b"])]


def test_names_and_levels(tmp_path: Path) -> None:
    more = '[stages.named]\nkind = "tarball"\nroot = "it"\nname = "mine-{arch}-{version}"\nlevel = 1\n'
    project = write_project(tmp_path / "project", PROJECT + more)
    write_tar(project / "seed.tar", [])
    run = build("named", cwd=project, store=tmp_path / "store")
    (outputs,) = [event["outputs"] for event in run.events if event["event"] == "Published"]
    assert outputs == {"named": [str(project / "out/mine-amd64-1.tar.zst")]}
    edit(project, "mine-{arch}-{version}", "it-amd64-1")
    clash = call("check", cwd=project, store=tmp_path / "store", check=False)
    assert clash.code == 2 and "same name as that of" in clash.stderr and "(it-amd64-1.tar.zst)" in clash.stderr
    edit(project, 'compression = "xz"', 'compression = "xz"\nlevel = 12')
    assert "xz has levels up to 9" in call("check", cwd=project, store=tmp_path / "store", check=False).stderr


def test_packing_reports_its_progress(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", PROJECT)
    write_tar(project / "seed.tar", [member(f"usr/large{number}", os.urandom(1 << 21)) for number in range(12)])
    run = build("packed", cwd=project, store=tmp_path / "store")
    told = [event["done"] for event in run.events if event["event"] == "NodeProgress"]
    assert told == sorted(told) and 4 <= len(told) <= 20
