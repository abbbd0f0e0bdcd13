"""Damaged results are found and set aside, together with those that were made from them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Yields
from stagewright.store.collect import collect, damaged_results, unneeded
from stagewright.store.in_use import in_use
from stagewright.store.integrity import Finding, Moved, State, examine, glance, results, set_aside, with_suspects
from stagewright.store.meta import Meta
from stagewright.store.store import Store
from stagewright.trees import remove_tree

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


def put(
    store: Store, yields: Yields, key: str, *, below: tuple[str, ...] = (), source: str = "", created: float = 0.0
) -> None:
    work = store.new_work(key)
    (work / "tree/etc").mkdir(parents=True)
    (work / "tree/etc/link").symlink_to("file")
    (work / "tree/etc/file").write_text(f"content of {key}\n", encoding="utf-8")
    inputs = {"root": source or below[0]} if source or below else {}
    stack = [key, *below] if yields is LAYER else []
    store.commit(work / "tree", yields, Meta(key, key, "kind", created, 0, {"inputs": inputs}, stack))


def states(store: Store) -> dict[str, State]:
    return {key: examine(store, yields, key).state for yields, key in results(store)}


def alter(store: Store, yields: Yields, key: str) -> Path:
    """Change a byte of a file, which keeps its size and its time."""
    return flip(store.tree(yields, key) / "etc/file")


def flip(path: Path) -> Path:
    info = path.stat()
    path.chmod(0o644)
    path.write_text(path.read_text(encoding="utf-8").swapcase(), encoding="utf-8")
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
    assert len(set_aside(store, found, said.append).moved) == 3
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
        assert set_aside(store, [examine(store, LAYER, "base")], said.append).moved == ()
    assert "in use" in said[0]
    assert store.has(LAYER, "base")


@pytest.mark.parametrize("used", ["base", "tarball"])
def test_all_that_is_connected_with_a_result_in_use_stays(store: Store, used: str) -> None:
    """A result that was built from a damaged one would count as whole, and so would a suspect one that stays."""
    for key in ("base", "other"):
        alter(store, LAYER, key)
    found = with_suspects(store, [examine(store, LAYER, key) for key in ("base", "other")])
    with in_use(store, [used]):
        moved = set_aside(store, found, lambda _: None)
    assert [finding.key for finding in moved.moved] == ["other"]
    assert {finding.key for finding in moved.staying} == {"base", "system", "tarball"}


def test_a_result_that_was_built_again_meanwhile_stays(store: Store) -> None:
    """Two builds find the same damage; the second one comes to it when the first has built the result again."""
    alter(store, LAYER, "base")
    found = with_suspects(store, [examine(store, LAYER, "base")])
    set_aside(store, found, lambda _: None)
    assert set_aside(store, found, lambda _: None) == Moved()
    put(store, LAYER, "base", created=1.0)
    assert set_aside(store, found, lambda _: None) == Moved()
    assert states(store) == {"base": State.WHOLE, "other": State.WHOLE}


def retype(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def to_folder_link(path: Path) -> None:
    path.parent.rename(path.parent.parent / "moved")
    path.parent.symlink_to("moved")


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "a byte": (lambda tree: flip(tree / "etc/file"), ("tree/etc/file", "content")),
    "an added file": (lambda tree: (tree / "etc/new").touch(), ("tree/etc/new", "added")),
    "a missing file": (lambda tree: (tree / "etc/file").unlink(), ("tree/etc/file", "missing")),
    "a link in place of a file": (lambda tree: retype(tree / "etc/file"), ("tree/etc/file", "type")),
    "a link in place of a folder": (lambda tree: to_folder_link(tree / "etc/file"), ("tree/etc", "type")),
    "another target": (lambda tree: relink(tree / "etc/link"), ("tree/etc/link", "content")),
    "a mode": (lambda tree: (tree / "etc/file").chmod(0o4755), ("tree/etc/file", "mode")),
    "no tree": (lambda tree: tree.rename(tree.parent / "gone"), ("tree", "missing")),
    "a link in place of the tree": (lambda tree: to_folder_link(tree / "x"), ("tree", "content")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_glance_at_an_artifact_finds_every_change(store: Store, case: str) -> None:
    change, expected = CHANGES[case]
    change(store.tree(ARTIFACT, "tarball"))
    finding = glance(store, ARTIFACT, "tarball", file_digest)
    assert finding
    assert expected in [(damage.path, damage.what) for damage in finding.damages], finding


def test_a_file_that_cannot_be_read_is_named_in_a_glance(store: Store) -> None:
    def broken(_path: Path, _info: os.stat_result) -> str:
        raise OSError(errno.EIO, "Input/output error")  # read(2) knows no name

    finding = glance(store, ARTIFACT, "tarball", broken)
    assert finding
    assert [(one.path, one.found) for one in finding.damages] == [("tree/etc/file", "unreadable (Input/output error)")]


def test_a_glance_at_a_deep_artifact(store: Store) -> None:
    work = store.new_work("deep")
    (work / "tree").mkdir()
    folder = os.open(work / "tree", os.O_RDONLY)
    for name in ["d" * 200] * 30:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    store.commit(work / "tree", ARTIFACT, Meta("deep", "deep", "kind", 0.0, 0, {}))
    assert glance(store, ARTIFACT, "deep", file_digest) is None
    remove_tree(store.folder(ARTIFACT, "deep"))


def test_a_copy_without_fractions_of_a_second_is_whole_at_a_glance(store: Store) -> None:
    tree = store.tree(LAYER, "base")
    os.utime(tree, ns=(0, tree.stat().st_mtime_ns // 10**9 * 10**9))
    assert glance(store, LAYER, "base", file_digest) is None


def test_a_glance_at_a_layer_finds_changes_at_its_top_only(store: Store) -> None:
    alter(store, LAYER, "base")
    assert glance(store, LAYER, "base", file_digest) is None
    (store.tree(LAYER, "base") / "new").mkdir()
    os.utime(store.tree(LAYER, "base"), (1, 1))
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


def test_a_description_with_numbers_as_names_is_whole(store: Store) -> None:
    """JSON has text as names only, and sorts it in another order."""
    work = store.new_work("numbers")
    (work / "tree").mkdir()
    facts: dict[Any, Any] = {"sizes": {9: 1, 10: 2}}
    store.commit(work / "tree", ARTIFACT, Meta("numbers", "numbers", "kind", 0.0, 0, {}, facts=facts))
    assert states(store)["numbers"] is State.WHOLE


def test_a_collection_skips_a_result_that_it_cannot_read(store: Store) -> None:
    (store.folder(LAYER, "other") / "meta.json").write_text("{", encoding="utf-8")
    said: list[str] = []
    garbage = unneeded(store, set(), said.append)
    assert {item.key for item in garbage} == {"base", "system", "tarball"}
    assert len(said) == 1 and "layers/other" in said[0]
    collect(store, garbage)
    assert store.has(LAYER, "other") and not store.has(LAYER, "base")


@dataclass(frozen=True)
class Packages:
    """A layer "with" on "base" that has a binary package, which is a file of the cache, too."""

    store: Store
    cached: Path

    @property
    def used(self) -> Path:
        return self.store.folder(LAYER, "with") / "binpkgs/app-misc/hello/hello-1-1.gpkg.tar"


@pytest.fixture
def packages(store: Store) -> Packages:
    cached = store.cache("binpkgs") / "app-misc/hello/f00d/origin/hello-1-1.gpkg.tar"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"package")
    work = store.new_work("with")
    (work / "tree").mkdir()
    linked = work / "used/app-misc/hello/hello-1-1.gpkg.tar"
    linked.parent.mkdir(parents=True)
    os.link(cached, linked)
    meta = Meta("with", "with", "kind", 0.0, 0, {"inputs": {"root": "base"}}, ["with", "base"])
    store.commit(work / "tree", LAYER, meta, work / "used")
    assert examine(store, LAYER, "with").state is State.WHOLE
    assert glance(store, LAYER, "with", file_digest) is None
    return Packages(store, cached)


@pytest.mark.parametrize("check", [examine, lambda *of: glance(*of, file_digest)])
def test_a_damaged_binary_package_leaves_the_cache_too(
    packages: Packages, check: Callable[[Store, Yields, str], Finding]
) -> None:
    """Also if only an artifact with the same file was looked at before: the layer is looked at next."""
    flip(packages.cached)
    finding = check(packages.store, LAYER, "with")
    assert [(one.path, one.what) for one in finding.damages] == [
        (str(packages.used.relative_to(packages.store.folder(LAYER, "with"))), "content")
    ]
    set_aside(packages.store, [finding], lambda _: None)
    assert not packages.cached.exists()


def test_packages_of_a_layer_on_a_damaged_one_leave_the_cache(packages: Packages) -> None:
    """They may have been compiled with what was damaged."""
    alter(packages.store, LAYER, "base")
    set_aside(packages.store, with_suspects(packages.store, [examine(packages.store, LAYER, "base")]), lambda _: None)
    assert not packages.cached.exists()


def test_packages_of_a_layer_that_is_damaged_elsewhere_stay_in_the_cache(packages: Packages) -> None:
    (packages.store.tree(LAYER, "with") / "new").touch()
    set_aside(packages.store, [examine(packages.store, LAYER, "with")], lambda _: None)
    assert packages.cached.exists()
