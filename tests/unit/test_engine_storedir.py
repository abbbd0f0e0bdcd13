"""Catalyst's storedir: names, digests, listings, packages of several runs; and what is known of its tarballs."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from stagewright.dropin.ledger import LedgerEntry, forget, recall, remember
from stagewright.dropin.storedir import DigestStyle, Layout, Placed, publish
from stagewright.engine.plan import Plan, State, Step
from stagewright.graph.keys import Key
from stagewright.graph.node import Graph, Node, Yields
from stagewright.release.artifact_digests import digest_artifact, write_digests
from stagewright.release.manifest import write_manifest
from stagewright.store.links import link
from stagewright.store.meta import Meta
from stagewright.store.store import Store

KEY = "a" * 64


def artifact(store: Store, name: str, *, contents: bool = True) -> Path:
    """An artifact in the store, as the kind tarball leaves it."""
    tree = store.path / "incoming"
    tree.mkdir()
    file = tree / name
    file.write_bytes(name.encode() * 100)
    files = [digest_artifact(file)]
    if contents:
        listing = tree / f"{name}.CONTENTS.gz"
        listing.write_bytes(gzip.compress(b"-rw-r--r-- 0/0 1 2026-11-20 00:00 ./x\n", mtime=0))
        files.append(digest_artifact(listing))
    write_digests(file, files)
    named = dict(zip(("artifact", "contents"), (one.to_dict() for one in files), strict=False))
    write_manifest(file, named, [])
    commit(store, tree, {"file": name, "bytes": file.stat().st_size})
    return store.tree(Yields.ARTIFACT, KEY) / name


def commit(store: Store, tree: Path, facts: dict[str, Any]) -> None:
    store.commit(tree, Yields.ARTIFACT, Meta(KEY, "it", "tarball", 0.0, 0, {}, facts=facts))


def plan(yields: Yields = Yields.ARTIFACT) -> Plan:
    node = Node("it", "tarball", yields)
    step = Step(node, Key(KEY, {}), State.CACHED)
    return Plan(cast("Any", None), Graph.of([node]), ("it",), {"it": step})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_tarball_with_all_that_goes_with_it(store: Store, tmp_path: Path) -> None:
    source = artifact(store, "stage3-amd64-1.tar.xz")
    target = tmp_path / "storedir/builds/23.0/stage3-amd64-1.tar.xz"
    assert publish([Placed("it", target)], plan(), store, DigestStyle()) == [target]
    assert target.samefile(source)
    names = {f"stage3-amd64-1.tar.xz{end}" for end in ("", ".CONTENTS.gz", ".DIGESTS", ".sha256", ".manifest.json")}
    assert {path.name for path in target.parent.iterdir()} == names
    lines = (target.parent / "stage3-amd64-1.tar.xz.DIGESTS").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# BLAKE2B HASH", "# SHA512 HASH"] * 2
    assert lines[1] == f"{hashlib.blake2b(target.read_bytes()).hexdigest()}  stage3-amd64-1.tar.xz"
    assert lines[5].endswith("  stage3-amd64-1.tar.xz.CONTENTS.gz")
    assert lines[3] == f"{hashlib.sha512(target.read_bytes()).hexdigest()}  stage3-amd64-1.tar.xz"
    check = ["sha256sum", "--check", "stage3-amd64-1.tar.xz.sha256"]
    subprocess.run(check, cwd=target.parent, check=True, capture_output=True)


def test_another_name_is_in_all_texts(store: Store, tmp_path: Path) -> None:
    artifact(store, "stage4-amd64-1.tar.xz")
    target = tmp_path / "builds/stage4-amd64-1.wsl"
    publish([Placed("it", target)], plan(), store, DigestStyle())
    assert "tar.xz" not in target.with_name("stage4-amd64-1.wsl.DIGESTS").read_text(encoding="utf-8")
    manifest = json.loads(target.with_name("stage4-amd64-1.wsl.manifest.json").read_text(encoding="utf-8"))
    assert manifest["artifact"]["file"] == "stage4-amd64-1.wsl"
    assert manifest["contents"]["file"] == "stage4-amd64-1.wsl.CONTENTS.gz"


def test_digests_as_the_configuration_says(store: Store, tmp_path: Path) -> None:
    source = artifact(store, "it.tar.xz")
    target = tmp_path / "it.tar.xz"
    publish([Placed("it", target)], plan(), store, DigestStyle.of(["sha3_256", "md5", "shake_128"], "bsd"))
    lines = target.with_name("it.tar.xz.DIGESTS").read_text(encoding="utf-8").splitlines()
    assert lines[:4] == [
        "# SHA3_256 HASH",
        f"SHA3_256 (it.tar.xz) = {hashlib.sha3_256(source.read_bytes()).hexdigest()}",
        "# MD5 HASH",
        f"MD5 (it.tar.xz) = {hashlib.md5(source.read_bytes()).hexdigest()}",
    ]
    assert lines[5] == f"SHAKE_128 (it.tar.xz) = {hashlib.shake_128(source.read_bytes()).hexdigest(32)}"


def test_what_was_there_is_replaced(store: Store, tmp_path: Path) -> None:
    source = artifact(store, "it.tar.xz")
    target = tmp_path / "it.tar.xz"
    target.mkdir()
    (target / "old").touch()
    publish([Placed("it", target)], plan(), store, DigestStyle())
    assert target.samefile(source)
    publish([Placed("it", target)], plan(), store, DigestStyle())
    assert sorted(path.name for path in tmp_path.glob(".*")) == [], "nothing temporary is left"


def test_what_was_not_built_is_left_out(store: Store, tmp_path: Path) -> None:
    assert publish([Placed("it", tmp_path / "x.tar.xz")], plan(), store, DigestStyle()) == []
    assert not (tmp_path / "x.tar.xz").exists()


def test_a_folder_holds_what_was_made_and_nothing_else(store: Store, tmp_path: Path) -> None:
    tree = store.path / "incoming"
    (tree / "kernels").mkdir(parents=True)
    (tree / "kernels/gentoo").write_text("kernel", encoding="utf-8")
    commit(store, tree, {})
    target = tmp_path / "netboot-1"
    (target / "old").mkdir(parents=True)
    (target / "old/file").touch()
    publish([Placed("it", target, Layout.FOLDER)], plan(), store, DigestStyle())
    assert [str(path.relative_to(target)) for path in sorted(target.rglob("*"))] == ["kernels", "kernels/gentoo"]


def packages(store: Store, *names: str) -> None:
    """A binary package host in the store."""
    tree = store.path / "incoming"
    rows = []
    for name in names:
        file = tree / name
        file.parent.mkdir(parents=True)
        file.write_text(name, encoding="utf-8")
        rows.append(f"BUILD_ID: 1\nCPV: {name.partition('.')[0]}\nPATH: {name}\nSIZE: {len(name)}\n")
    (tree / "Packages").write_text(
        f"ARCH: amd64\nPACKAGES: {len(names)}\nVERSION: 0\n\n" + "\n".join(rows) + "\n", encoding="utf-8"
    )
    commit(store, tree, {})


def test_packages_of_several_runs_are_in_one_index(tmp_path: Path) -> None:
    target = tmp_path / "packages/23.0/stage3-amd64"
    runs = [("b/two.gpkg.tar", "a/one.gpkg.tar"), ("c/three.gpkg.tar",)]
    for number, names in enumerate(runs):
        store = Store(tmp_path / f"store{number}")
        packages(store, *names)
        publish([Placed("it", target, Layout.PACKAGES)], plan(), store, DigestStyle())
    index = (target / "Packages").read_text(encoding="utf-8")
    assert [line for line in index.splitlines() if line.startswith(("CPV", "PACKAGES"))] == [
        "PACKAGES: 3",
        "CPV: a/one",
        "CPV: b/two",
        "CPV: c/three",
    ]
    assert gzip.decompress((target / "Packages.gz").read_bytes()).decode() == index
    (target / "b/two.gpkg.tar").unlink()
    store = Store(tmp_path / "store1")
    publish([Placed("it", target, Layout.PACKAGES)], plan(), store, DigestStyle())
    assert "b/two" not in (target / "Packages").read_text(encoding="utf-8"), "what somebody removed is not offered"


def test_the_ledger_knows_a_tarball_until_it_is_touched(tmp_path: Path) -> None:
    tarball = tmp_path / "builds/23.0/stage1-amd64-1.tar.xz"
    tarball.parent.mkdir(parents=True)
    tarball.write_text("tarball", encoding="utf-8")
    record = LedgerEntry(Path("/specs/stage1.spec"), "target: stage1\n", KEY)
    remember(tmp_path, "23.0/stage1-amd64-1", record, [tarball])
    assert recall(tmp_path, "23.0/stage1-amd64-1") == record
    assert recall(tmp_path, "23.0/stage1-amd64-2") is None
    tarball.write_text("another", encoding="utf-8")
    assert recall(tmp_path, "23.0/stage1-amd64-1") is None
    remember(tmp_path, "23.0/stage1-amd64-1", record, [tarball])
    tarball.unlink()
    assert recall(tmp_path, "23.0/stage1-amd64-1") is None
    assert forget(tmp_path, "23.0/stage1-amd64-1")
    assert not forget(tmp_path, "23.0/stage1-amd64-1")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', '{"format": 2, "artifacts": {}}'])
def test_a_damaged_ledger_knows_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / ".stagewright/x/y.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert recall(tmp_path, "x/y") is None


def test_a_link_that_leads_nowhere_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x", encoding="utf-8")
    (tmp_path / "target").symlink_to("nowhere")
    assert link(tmp_path / "source", tmp_path / "target")
    assert not link(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text(encoding="utf-8") == "x"
