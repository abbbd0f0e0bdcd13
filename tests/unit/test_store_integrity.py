"""Damaged results are found and set aside, together with those that were made from them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Yields
from stagewright.store.collect import collect, damaged_results
from stagewright.store.in_use import in_use
from stagewright.store.integrity import State, examine, glance, results, set_aside, with_suspects
from stagewright.store.meta import Meta
from stagewright.store.store import Store

LAYER, ARTIFACT = Yields.LAYER, Yields.ARTIFACT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a base, a system on it, a tarball of that, and something else."""
    made = Store(tmp_path / "store")
    put(made, LAYER, "base")
    put(made, LAYER, "system", below=("base",))
    put(made, ARTIFACT, "tarball", source="system")
    put(made, LAYER, "other")
    return made


def put(store: Store, yields: Yields, key: str, *, below: tuple[str, ...] = (), source: str = "") -> None:
    work = store.new_work(key)
    (work / "tree/etc").mkdir(parents=True)
    (work / "tree/etc/file").write_text(f"content of {key}\n", encoding="utf-8")
    inputs = {"root": source or below[0]} if source or below else {}
    stack = [key, *below] if yields is LAYER else []
    store.commit(work / "tree", yields, Meta(key, key, "kind", 0.0, 0, {"inputs": inputs}, stack))


def states(store: Store) -> dict[str, State]:
    return {key: examine(store, yields, key).state for yields, key in results(store)}


def alter(store: Store, yields: Yields, key: str) -> Path:
    """Change a byte of a file, which keeps its size and its time."""
    path = store.tree(yields, key) / "etc/file"
    info = path.stat()
    path.chmod(0o644)
    path.write_text(path.read_text(encoding="utf-8").replace("content", "c0ntent"), encoding="utf-8")
    path.chmod(info.st_mode)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    return path


def test_whole_results(store: Store) -> None:
    assert set(states(store).values()) == {State.WHOLE}
    assert all(glance(store, yields, key, file_digest) is None for yields, key in results(store))


def test_an_altered_byte_is_named_with_what_was_expected(store: Store) -> None:
    digest = file_digest(store.tree(LAYER, "base") / "etc/file")
    path = alter(store, LAYER, "base")
    finding = examine(store, LAYER, "base")
    (damage,) = finding.damages
    assert (damage.path, damage.what) == ("tree/etc/file", "content")
    assert (damage.expected, damage.found) == (digest, file_digest(path))


def test_what_was_made_from_a_damaged_result_is_set_aside_too(store: Store) -> None:
    alter(store, LAYER, "base")
    found = with_suspects(store, [examine(store, LAYER, "base")])
    assert {finding.key: finding.state for finding in found} == {
        "base": State.DAMAGED,
        "system": State.SUSPECT,
        "tarball": State.SUSPECT,
    }
    said: list[str] = []
    assert set_aside(store, found, said.append) == 3
    assert len(said) == 3 and "base (base) is damaged; it was moved to" in said[0]
    assert states(store) == {"other": State.WHOLE}
    why = [json.loads(path.read_text(encoding="utf-8")) for path in store.path.glob("damaged/*/why.json")]
    assert {one["node"]: one["state"] for one in why} == {"base": "damaged", "system": "suspect", "tarball": "suspect"}


def test_gc_removes_what_was_set_aside(store: Store) -> None:
    alter(store, ARTIFACT, "tarball")
    set_aside(store, [examine(store, ARTIFACT, "tarball")], lambda _: None)
    (garbage,) = damaged_results(store)
    assert garbage.size > 0
    collect(store, [garbage])
    assert damaged_results(store) == []


def test_a_result_in_use_stays(store: Store) -> None:
    alter(store, LAYER, "base")
    said: list[str] = []
    with in_use(store, ["system"]):
        assert set_aside(store, [examine(store, LAYER, "base")], said.append) == 0
    assert "in use" in said[0]
    assert store.has(LAYER, "base")


def test_a_glance_at_an_artifact_reads_its_files(store: Store) -> None:
    alter(store, ARTIFACT, "tarball")
    finding = glance(store, ARTIFACT, "tarball", file_digest)
    assert finding and [damage.path for damage in finding.damages] == ["tree/etc/file"]


def test_a_glance_at_a_layer_finds_changes_at_its_top_only(store: Store) -> None:
    alter(store, LAYER, "base")
    assert glance(store, LAYER, "base", file_digest) is None
    (store.tree(LAYER, "base") / "new").mkdir()
    assert glance(store, LAYER, "base", file_digest)


@pytest.mark.parametrize("text", ['{"key"', '{"unknown": 1}', "[]", ""])
def test_a_description_that_cannot_be_read(store: Store, text: str) -> None:
    (store.folder(LAYER, "base") / "meta.json").write_text(text, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        store.meta(LAYER, "base")
    assert caught.value.reason is Reason.DAMAGED
    assert states(store)["base"] is State.DAMAGED


def test_a_changed_description_is_found(store: Store) -> None:
    path = store.folder(LAYER, "system") / "meta.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"kind"', '"kinD"', 1), encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace('"kind": "kind"', '"kind": "k1nd"'), encoding="utf-8")
    assert examine(store, LAYER, "system").state is State.DAMAGED


def test_results_of_former_versions_have_no_list(store: Store) -> None:
    path = store.folder(LAYER, "base") / "meta.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for name in ("content", "seal", "top"):
        del data[name]
    path.write_text(json.dumps(data), encoding="utf-8")
    assert examine(store, LAYER, "base").state is State.UNKNOWN
    assert glance(store, LAYER, "base", file_digest) is None


def test_a_damaged_binary_package_leaves_the_cache_too(store: Store) -> None:
    cached = store.cache("binpkgs") / "app-misc/hello/f00d/origin/hello-1-1.gpkg.tar"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"package")
    work = store.new_work("with")
    (work / "tree").mkdir()
    linked = work / "used/app-misc/hello/hello-1-1.gpkg.tar"
    linked.parent.mkdir(parents=True)
    os.link(cached, linked)
    store.commit(work / "tree", LAYER, Meta("with", "with", "kind", 0.0, 0, {}, ["with"]), work / "used")
    assert examine(store, LAYER, "with").state is State.WHOLE
    cached.write_bytes(b"packagE")
    finding = examine(store, LAYER, "with")
    assert finding.state is State.DAMAGED
    set_aside(store, [finding], lambda _: None)
    assert not cached.exists()
