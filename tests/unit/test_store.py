"""The store: nothing is ever half there, and two runs do not disturb each other."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.graph.node import Yields
from stagewright.project.model import NAME
from stagewright.store.collect import Garbage, collect, leftovers, unneeded
from stagewright.store.meta import Meta
from stagewright.store.names import file_name
from stagewright.store.records import old_records, remove_records
from stagewright.store.store import CLOSED, KEPT, Store
from stagewright.trees import make_read_only, remove_tree, tree_size

LAYER, ARTIFACT = Yields.LAYER, Yields.ARTIFACT
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def meta(key: str, *below: str, size: int = 1) -> Meta:
    return Meta(key, f"node-{key}", "root", 0.0, size, {"a": 1}, [key, *below])


def put(store: Store, key: str, *below: str, size: int = 1, yields: Yields = LAYER) -> None:
    """Bring a result into the store as a build does."""
    tree = store.new_work(key) / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "name").write_text(key, encoding="utf-8")
    store.commit(tree, yields, meta(key, *below, size=size))
    tree.parent.rmdir()


@contextlib.contextmanager
def lock_elsewhere(store: Store, key: str) -> Iterator[None]:
    """Another process that builds this key."""
    program = "import sys; from pathlib import Path; from stagewright.store.store import Store\n"
    program += "with Store(Path(sys.argv[1])).locked(sys.argv[2]) as mine: print(mine, flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", program, str(store.path), key]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == "True\n"
        yield
        other.stdin.close()


# what is there


def test_what_was_committed_is_there(store: Store) -> None:
    put(store, "k1")
    put(store, "k2", "k1")
    assert store.has(LAYER, "k2")
    assert not store.has(ARTIFACT, "k2")
    stored = store.meta(LAYER, "k2")
    assert replace(stored, content="", top=[], seal="") == meta("k2", "k1")
    assert stored.content.startswith("sha256:") and stored.sealed() == stored
    assert (store.tree(LAYER, "k2") / "etc" / "name").read_text(encoding="utf-8") == "k2"
    assert store.stack("k2") == [store.tree(LAYER, "k2"), store.tree(LAYER, "k1")]
    assert Store(store.path).has(LAYER, "k1")


def test_without_meta_data_it_is_not_there(store: Store) -> None:
    put(store, "k1")
    (store.folder(LAYER, "k1") / "meta.json").unlink()
    assert not store.has(LAYER, "k1")
    with pytest.raises(StagewrightError) as caught:
        store.meta(LAYER, "k1")
    assert caught.value.reason is Reason.NOT_BUILT


def test_meta_data_come_last(store: Store) -> None:
    """A tree that cannot be moved leaves no meta data: until it lies in the store, it is not there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if Path(elsewhere).stat().st_dev == store.path.stat().st_dev:
            pytest.skip("NOT TESTED: the store is on the same file system")
        with pytest.raises(OSError, match="cross-device"):
            store.commit(Path(elsewhere), LAYER, meta("k1"))
    assert not store.has(LAYER, "k1")
    assert store.sweep() == [store.folder(LAYER, "k1")]


def test_a_half_result_is_replaced(store: Store) -> None:
    half = store.tree(LAYER, "k1")
    half.mkdir(parents=True)
    (half / "junk").touch()
    put(store, "k1")
    assert [path.name for path in half.iterdir()] == ["etc"]


def test_committing_what_is_there_already_keeps_the_first(store: Store) -> None:
    put(store, "k1", size=1)
    put(store, "k1", size=2)
    assert store.meta(LAYER, "k1").size == 1


# locks and sweeping


def test_one_at_a_time_builds_a_key(store: Store) -> None:
    with store.locked("k1") as mine, store.locked("k1") as other, store.locked("k2") as different:
        assert (mine, other, different) == (True, False, True)
    with store.locked("k1") as again:
        assert again


def test_a_key_that_another_process_builds(store: Store) -> None:
    with lock_elsewhere(store, "k1"), store.locked("k1") as mine:
        assert not mine
    with store.locked("k1") as mine:
        assert mine


def test_a_killed_process_holds_no_lock(store: Store) -> None:
    program = "import os, sys; from pathlib import Path; from stagewright.store.store import Store\n"
    program += "with Store(Path(sys.argv[1])).locked('k1'): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, str(store.path)], check=False)
    with store.locked("k1") as mine:
        assert mine


def test_sweeping_removes_folders_without_a_lock(store: Store) -> None:
    put(store, "done")
    for yields in Yields:
        (store.folder(yields, "half") / "tree").mkdir(parents=True)
    works = [store.new_work(key) for key in ("free", "busy")]
    (store.folder(LAYER, "busy") / "tree").mkdir(parents=True)
    with lock_elsewhere(store, "busy"):
        removed = store.sweep()
    assert set(removed) == {works[0], store.folder(LAYER, "half"), store.folder(ARTIFACT, "half")}
    assert not any(path.exists() for path in removed)
    assert works[1].exists()
    assert store.folder(LAYER, "busy").exists()
    assert store.has(LAYER, "done")
    assert set(store.sweep()) == {works[1], store.folder(LAYER, "busy")}
    assert store.sweep() == []


def test_a_failed_root_is_kept_until_the_next_one(store: Store) -> None:
    for number in "12":
        work = store.new_work("k1")
        (work / number).touch()
        store.keep_failed(work, "demo", "seed:x")
    kept = store.failed("demo", "seed:x")
    assert [path.name for path in kept.iterdir()] == ["2"]
    assert [item.path for item in leftovers(store)] == [kept]
    assert store.sweep() == []


def test_a_failed_root_stays_while_a_shell_is_open_in_it(store: Store) -> None:
    store.keep_failed(store.new_work("k1"), "demo", "seed:x")
    kept = store.failed("demo", "seed:x")
    (kept / "mine").touch()
    newer = store.new_work("k1")
    with store.lock_failed("demo", "seed:x") as free:
        assert free
        assert not store.keep_failed(newer, "demo", "seed:x")
        assert not store.discard_failed("demo", "seed:x")
        assert collect(store, leftovers(store)) == 0
        assert store.discard_failed("demo", "seed:y")
        with store.lock_failed("demo", "seed:x") as second:
            assert not second
    assert (kept / "mine").exists()
    assert not newer.exists()
    assert store.discard_failed("demo", "seed:x")
    assert not kept.exists()


# the folder itself


@pytest.mark.parametrize("stamp", ["0", "2", "", "x"])
def test_another_format_is_refused(store: Store, stamp: str) -> None:
    (store.path / "format").write_text(stamp, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        Store(store.path)
    assert caught.value.reason is Reason.STORE_FORMAT
    assert caught.value.hint


def test_a_half_made_store_is_completed(store: Store) -> None:
    (store.path / "format").unlink()
    (store.path / "work").rmdir()
    assert Store(store.path).new_work("k1").exists()


@needs_root
def test_other_users_see_no_roots_and_no_settings(store: Store) -> None:
    """Work folders hold setuid programs and device nodes; the history holds hashes. An old store is closed, too.

    Files of the cache can belong to ids of builds, which a program that leaves its sandbox has.
    """
    put(store, "k1")
    store.remember("demo", "one", {"root_password": "$6$x"})
    for name in CLOSED:
        (store.path / name).chmod(0o755)
    Store(store.path)
    secret = store.path / "history" / "demo" / "one.json"
    paths = [*(store.path / name for name in CLOSED), store.new_work("k2"), secret, store.folder(LAYER, "k1")]
    assert [oct(path.stat().st_mode & 0o777) for path in paths[:-1]] == ["0o700"] * 7 + ["0o600"]
    assert (paths[-1] / "meta.json").stat().st_mode & 0o077 == 0
    for path in paths:  # as another user
        with subprocess.Popen(["ls", path], user=65534, group=65534, stderr=subprocess.DEVNULL) as process:
            assert process.wait() != 0


def test_backup_programs_skip_the_store(store: Store) -> None:
    assert (
        (store.path / "CACHEDIR.TAG")
        .read_text(encoding="utf-8")
        .startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    )


@needs_root
@pytest.mark.parametrize("there", [True, False], ids=["there", "to be made"])
def test_a_store_that_may_not_be_written(there: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if there:
            Store(folder / "store")
        os.seteuid(65534)
        try:
            with pytest.raises(StagewrightError) as caught:
                Store(folder / "store")
        finally:
            os.seteuid(0)
    assert caught.value.reason is Reason.NOT_ROOT
    assert caught.value.hint


@needs_root
def test_a_store_on_a_read_only_disk(store: Store) -> None:
    program = "import sys; from pathlib import Path; from stagewright.store.store import Store; from stagewright.errors"
    program += (
        " import StagewrightError\ntry: Store(Path(sys.argv[1]))\nexcept StagewrightError as e: print(e.reason, e)"
    )
    mounts = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$1"'
    words = ["unshare", "--mount", "sh", "-c", mounts, "sh", str(store.path), sys.executable, program]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"not-root cannot write to the store {store.path} (Read-only file system)\n"), (
        done.stderr
    )


# collection


def test_what_no_project_needs_can_go(store: Store, tmp_path: Path) -> None:
    put(store, "base")
    put(store, "mid", "base")
    put(store, "top", "mid", "base")
    put(store, "other")
    put(store, "gone", size=3)
    put(store, "big", size=7, yields=ARTIFACT)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    store.register(here, {"node": "other"})
    store.register(there, {"node": "gone"})  # a project that is not there any more
    garbage = unneeded(store, {"top"})
    assert [(item.key, item.size) for item in garbage] == [("big", 7), ("gone", 3)]
    with lock_elsewhere(store, "gone"):
        assert collect(store, garbage) == 7
    assert not store.folder(ARTIFACT, "big").exists()
    assert store.has(LAYER, "gone")
    assert collect(store, unneeded(store, {"top"})) == 3
    assert unneeded(store, {"top"}) == []
    assert {item.key for item in unneeded(store, set())} == {"base", "mid", "top"}


def test_a_project_is_registered_as_it_was_last(store: Store, tmp_path: Path) -> None:
    put(store, "old")
    put(store, "new")
    store.register(tmp_path, {"node": "old"})
    store.register(tmp_path, {"node": "new"})
    assert [item.key for item in unneeded(store, set())] == ["old"]


def test_a_project_may_lie_deep(store: Store, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["some-folder-with-a-name"] * 20)
    deep.mkdir(parents=True)
    put(store, "k1")
    store.register(deep, {"node": "k1"})
    assert unneeded(store, set()) == []


def test_failed_roots_are_collected(store: Store) -> None:
    store.keep_failed(store.new_work("k1"), "demo", "x")
    (item,) = leftovers(store)
    collect(store, [item, Garbage(store.path / "nowhere", "", 5, "")])
    assert not item.path.exists()


# names and memory


IDS = st.from_regex(rf"((seed|test):)?{NAME[1:-1]}", fullmatch=True)
PATHS = st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), min_size=1).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.one_of(st.tuples(IDS, IDS), st.tuples(PATHS, PATHS)))
@example(("/a/b", "/a%2Fb"))
@example(("seed:a", "/seed%3Aa"))
def test_different_names_have_different_files(pair: tuple[str, str]) -> None:
    first, second = pair
    assume(first != second)
    assert file_name(first) != file_name(second)


@given(st.one_of(IDS, PATHS))
def test_any_name_is_one_file_name(name: str) -> None:
    assert "/" not in file_name(name)
    assert 0 < len(file_name(name).encode()) < 230


def test_long_names_that_differ_at_their_end() -> None:
    assert file_name("x" * 300 + "a") != file_name("x" * 300 + "b")


def test_the_key_data_of_the_last_build_is_kept(store: Store) -> None:
    assert store.last_key_data("demo", "seed:x") is None
    store.remember("demo", "seed:x", {"a": 1})
    store.remember("demo", "seed:x", {"a": 2})
    store.remember("demo", "test:x", {"a": 3})
    assert store.last_key_data("demo", "seed:x") == {"a": 2}
    assert store.last_key_data("other", "seed:x") is None
    (store.path / "history" / "demo" / "seed%3Ax.json").write_text("{", encoding="utf-8")
    assert store.last_key_data("demo", "seed:x") is None


def test_former_keys_are_remembered(store: Store) -> None:
    assert store.former("demo", "seed:x") == []
    data: list[dict[str, object]] = [{"a": number} for number in range(KEPT + 2)]
    for each in [*data, data[5]]:
        store.remember("demo", "seed:x", each)
    keys = [Key.of(each).digest for each in [*data[2:5], *data[6:], data[5]]]
    assert store.former("demo", "seed:x") == keys
    assert store.former("demo", "seed:y") == store.former("other", "seed:x") == []


def test_results_are_found_by_the_beginning_of_their_key(store: Store) -> None:
    put(store, "abc1")
    put(store, "abc2", yields=ARTIFACT)
    (store.folder(LAYER, "abc3")).mkdir()  # a half one
    assert store.find("abc") == [(LAYER, "abc1"), (ARTIFACT, "abc2")]
    assert store.find("abc2") == [(ARTIFACT, "abc2")]
    assert store.find("x") == []


# trees


def test_hard_links_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    before = tree_size(tmp_path)
    assert before >= 100_000
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert tree_size(tmp_path) - before < 50_000
    (tmp_path / "c").write_bytes(b"x" * 100_000)
    assert tree_size(tmp_path) - before >= 100_000
    (tmp_path / "d").symlink_to("/usr")
    assert tree_size(tmp_path) - before < 200_000


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "closed").mkdir(mode=0)
    remove_tree(tree)
    assert not tree.exists()
    (tmp_path / "link").symlink_to(outside)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nowhere")
    assert (outside / "file").exists()
    assert not (tmp_path / "link").is_symlink()


DEEP = 20_000


def nest(folder: Path, depth: int = DEEP) -> None:
    """Make folders in folders, as a hostile archive has them; the path is longer than PATH_MAX."""
    current = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=current)
        inner = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=current))
    os.close(current)


@pytest.mark.slow
def test_a_tree_may_be_deeper_than_a_path_is_long() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # on a disk this takes a minute
        tree = Path(name, "tree")
        tree.mkdir()
        nest(tree)
        tree_size(tree)  # in some file systems an empty folder takes no blocks
        make_read_only(tree)
        remove_tree(tree)
        assert not tree.exists()


@needs_root
def test_sealed_files_are_removed(tmp_path: Path) -> None:
    for name, flag in (("sealed", "+i"), ("log", "+a")):
        folder = tmp_path / "tree" / name
        folder.mkdir(parents=True)
        (folder / "file").touch()
        for path in (folder / "file", folder):
            if subprocess.run(["chattr", flag, path], capture_output=True, check=False).returncode != 0:
                pytest.skip("NOT TESTED: the file system has no immutable files")
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(PermissionError):
        (tmp_path / "tree" / "sealed" / "file").unlink()
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@needs_root
def test_folders_without_permissions_and_foreign_ones(tmp_path: Path) -> None:
    """An ordinary user can remove what belongs to the user; what does not is an error, and nothing else is lost."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        base = Path(name)
        for folder in ("mine/closed/inner", "foreign/theirs/inner"):
            (base / folder).mkdir(parents=True)
        for path in (base, *base.rglob("*")):
            os.chown(path, 65534, 65534)
        os.chown(base / "foreign" / "theirs", 0, 0)
        (base / "mine" / "closed").chmod(0)
        os.seteuid(65534)
        try:
            remove_tree(base / "mine")
            with pytest.raises(PermissionError):
                remove_tree(base / "foreign")
        finally:
            os.seteuid(0)
        assert [path.name for path in base.iterdir()] == ["foreign"]
        assert (base / "foreign" / "theirs" / "inner").exists()


@needs_root
def test_a_tree_that_cannot_be_removed_does_not_stop_the_others(store: Store) -> None:
    """A mount point cannot be removed. The others are, and the store still works."""
    works = [store.new_work(key) for key in ("k1", "k2", "k3")]
    store.keep_failed(store.new_work("k4"), "demo", "one")
    program = "import json, sys; from pathlib import Path; from stagewright.store.store import Store\n"
    program += "from stagewright.store.collect import collect, leftovers\nstore, said = Store(Path(sys.argv[1])), []\n"
    program += "removed = store.sweep(said.append); freed = collect(store, leftovers(store), said.append)\n"
    program += "print(json.dumps([[path.name for path in removed], said]))"
    mounts = 'mount -t tmpfs x "$2"; mount -t tmpfs x "$3"; exec "$4" -c "$5" "$1"'
    kept = store.failed("demo", "one")
    words = ["unshare", "--mount", "sh", "-c", mounts, "sh", str(store.path), works[1], kept, sys.executable, program]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    removed, said = json.loads(done.stdout)
    assert set(removed) == {works[0].name, works[2].name}
    assert [line.partition(":")[0] for line in said] == [str(works[1]), str(kept)]


def test_meta_data_are_json(store: Store) -> None:
    put(store, "k1")
    assert json.loads((store.folder(LAYER, "k1") / "meta.json").read_text(encoding="utf-8"))["kind"] == "root"


def test_old_records_are_removed_and_the_newest_log_of_a_node_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.register(tmp_path, {"one": "1" * 64})
    logs = store.log_folder("demo", "one")
    gone = store.log_folder("demo", "gone")
    for folder in (logs, gone):
        folder.mkdir(parents=True)
    new, held = store.path / "events/new.jsonl", store.path / f"locks/{'2' * 64}.lock"
    old = [store.path / "events/old.jsonl", logs / "1.log", gone / "1.log", store.path / f"locks/{'1' * 64}.lock"]
    history = store.path / "history/demo"
    old += [history / "gone.json", history / "gone.seconds", store.cache("trees") / "1"]
    kept = [new, logs / "2.log", held, history / "one.json"]
    for path in (*old, *kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x", encoding="utf-8")
    with store.locked("2" * 64) as mine:
        assert mine
        for path in (*old, *kept[1:]):
            os.utime(path, (0, 0))
        found = old_records(store, 30)
        assert {*old, held} == set(found.paths)
        remove_records(store, found)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)
    assert not gone.exists()


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_at_its_new_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    path = store.path / "locks/key.lock"
    with store.locked("key") as mine:
        assert mine
        path.unlink()
        with store.locked("key") as other:  # another file
            assert other
    with store.locked("key") as mine:
        assert mine
