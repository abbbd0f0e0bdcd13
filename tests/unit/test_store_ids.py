"""Layers belong to the ids of the build that made them: other builds do not use them, verify and gc see them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stagewright import ids
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.store.collect import collect, damaged_results, unneeded
from stagewright.store.in_use import in_use
from stagewright.store.integrity import State, examine, results
from stagewright.store.meta import Meta
from stagewright.store.store import Store

LAYER = Yields.LAYER
MARK = "STAGEWRIGHT_IDS"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root gives files away")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose process builds with the user ids from 200000 and the group ids from 400000."""
    monkeypatch.setenv(MARK, "200000:400000")
    return Store(tmp_path / "store")


def put(store: Store, key: str, *, groups: tuple[int, ...] = (0, 8)) -> None:
    """Bring a layer into the store, and give it to the ids of builds."""
    tree = store.new_work(key) / "tree"
    tree.mkdir()
    for group in groups:
        (tree / str(group)).write_text(key, encoding="utf-8")
        os.chown(tree / str(group), group, group)
    store.commit(tree, LAYER, Meta(key, f"node-{key}", "root", 0.0, 1, {}, [key]))
    owner = ids.owner()
    if owner:
        for path in (store.tree(LAYER, key), *store.tree(LAYER, key).iterdir()):
            os.chown(path, owner.uid + path.stat().st_uid, owner.gid + path.stat().st_gid)


def test_ranges_of_users_and_groups_may_start_at_different_ids(store: Store) -> None:
    put(store, "aa")
    finding = examine(store, LAYER, "aa")
    assert (finding.state, finding.damages) == (State.WHOLE, ())
    os.chown(store.tree(LAYER, "aa") / "8", 200_008, 400_009)
    (damage,) = examine(store, LAYER, "aa").damages
    assert str(damage) == "tree/8: group: expected 8, found 9"


def test_a_layer_with_other_ids_is_verified_by_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "aa")
    for mark in ("host", "300000:300000"):
        monkeypatch.setenv(MARK, mark)
        assert not store.has(LAYER, "aa"), "it is not used"
        assert results(store) == [(LAYER, "aa")]
        assert examine(store, LAYER, "aa").state is State.WHOLE


def test_gc_removes_a_layer_with_other_ids_that_no_process_uses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "aa")
    assert not unneeded(store, {"aa"})
    monkeypatch.setenv(MARK, "")
    assert not unneeded(store, {"aa"}), "a user who cannot build now keeps what was built"
    monkeypatch.setenv(MARK, "host")
    with in_use(store, ["aa"]):
        assert not unneeded(store, set())
    garbage = unneeded(store, {"aa"})
    assert [item.key for item in garbage] == ["aa"]
    assert collect(store, garbage) == 1
    assert not results(store)


def test_a_layer_with_other_ids_is_set_aside_until_no_process_uses_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "aa")
    with in_use(store, ["aa"]):  # a build that has mounted it
        monkeypatch.setenv(MARK, "host")
        put(store, "aa", groups=(5,))
        assert [path.name for path in store.stack("aa")[0].iterdir()] == ["5"]
        (former,) = (store.path / "damaged").iterdir()
        assert sorted(path.name for path in (former / "tree").iterdir()) == ["0", "8"]
        collect(store, damaged_results(store))
        assert former.exists()
        monkeypatch.setenv(MARK, "200000:400000")
        with pytest.raises(StagewrightError) as caught:
            store.stack("aa")
        assert caught.value.reason is Reason.NOT_BUILT
    collect(store, damaged_results(store))
    assert not former.exists()


def test_a_store_of_another_user_is_refused(store: Store) -> None:
    os.chown(store.path / "format", 12345, 12345)
    with pytest.raises(StagewrightError) as caught:
        Store(store.path)
    assert caught.value.reason is Reason.NOT_ROOT
    assert "belongs to another user (uid 12345)" in caught.value.message
