"""Collection and running processes: what one of them needs stays, and one that was too late notices."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import Site, eventually
from test_store import put

from stagewright.graph.node import Yields
from stagewright.store.collect import collect, unneeded
from stagewright.store.in_use import collecting, in_use, keys_in_use
from stagewright.store.store import Store, remove_tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@contextlib.contextmanager
def used_elsewhere(store: Store, *keys: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses keys."""
    program = (
        "import sys; from pathlib import Path; from stagewright.store.store import Store\n"
        "from stagewright.store.in_use import in_use\n"
        "with in_use(Store(Path(sys.argv[1])), sys.argv[2:]): print('in use', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, str(store.path), *keys]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == "in use\n"
        yield other
        other.stdin.close()


def test_what_another_process_uses_stays_with_its_layers(store: Store) -> None:
    for key, *below in (["base"], ["top", "base"], ["other"]):
        put(store, key, *below)
    garbage = unneeded(store, set())
    assert {item.key for item in garbage} == {"base", "top", "other"}
    with used_elsewhere(store, "top"):
        assert {item.key for item in unneeded(store, set())} == {"other"}
        assert collect(store, garbage) == 1  # the list is older than the other process
        assert store.has(Yields.LAYER, "top")
        assert store.has(Yields.LAYER, "base")
        assert not store.folder(Yields.LAYER, "other").exists()
    assert collect(store, garbage) == 2
    assert not store.has(Yields.LAYER, "top")
    assert not list((store.path / "locks").glob("use-*"))


def test_what_a_dead_process_used_can_go(store: Store) -> None:
    put(store, "key")
    with used_elsewhere(store, "key") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert len(list((store.path / "locks").glob("use-*"))) == 1
        assert collect(store, unneeded(store, set())) == 1
    assert not list((store.path / "locks").glob("use-*"))


def test_several_processes_can_use_a_result(store: Store) -> None:
    with used_elsewhere(store, "a"), in_use(store, ["b"]):
        assert keys_in_use(store) == {"a", "b"}
    assert keys_in_use(store) == set()


def test_a_result_that_was_built_again_meanwhile_stays(store: Store) -> None:
    put(store, "key")
    garbage = unneeded(store, set())
    with store.locked("key"):
        assert collect(store, garbage) == 0
    assert store.has(Yields.LAYER, "key")


def test_nothing_can_be_noted_while_a_collection_decides(store: Store) -> None:
    gate = os.open(store.path / "locks" / "collection.lock", os.O_WRONLY | os.O_CREAT)
    with collecting(store), pytest.raises(BlockingIOError):
        fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(gate)


@pytest.mark.real
def test_a_run_builds_again_what_a_collection_removed_after_its_plan(tmp_path: Path) -> None:
    """The run finds the seed when it plans. The collection removes it before the run notes its keys."""
    site = Site(tmp_path)
    build = [sys.executable, "-P", "-m", "stagewright", "--store", str(site.store.path), "build"]
    project, seed = site.folder / "project", site.plan().steps["seed:one"]
    subprocess.run([*build, "one"], cwd=project, check=True, capture_output=True)
    assert site.store.has(seed.node.yields, seed.key.digest)
    with contextlib.ExitStack() as ends:
        with collecting(site.store):
            other = subprocess.Popen([*build, "first"], cwd=project, stderr=subprocess.PIPE, text=True)
            ends.enter_context(other)
            eventually(lambda: waits_for_a_lock(other.pid))
            remove_tree(site.store.folder(seed.node.yields, seed.key.digest))
        _, said = other.communicate()
    assert other.returncode == 0, said
    assert site.store.has(seed.node.yields, seed.key.digest)


def waits_for_a_lock(pid: int) -> bool:
    """True if a process is blocked in flock(2), see proc_locks(5)."""
    lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    return any(words[1] == "->" and words[5] == str(pid) for words in map(str.split, lines))
