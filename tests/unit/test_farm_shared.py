"""Pulls and pushes of the machines of a farm at the same time, and files of projects."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fake_workers import Site
from remote_results import artifact

from stagewright.engine.farm.files import FilesOut, take
from stagewright.engine.farm.shared import Shared
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Yields
from stagewright.remote.file_places import FolderPlace
from stagewright.remote.place import Blob, blob_path
from stagewright.remote.push import push
from stagewright.remote.remote import RemoteStore
from stagewright.store.store import Store

pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")


@dataclass(frozen=True)
class Counting(FolderPlace):
    """A folder that notes what it was asked for."""

    asked: list[str] = field(default_factory=list)

    def has(self, path: str) -> bool:
        self.asked.append(path)
        return super().has(path)

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        self.asked.append(path)
        return super().read(path, start, size)


@pytest.fixture
def place(tmp_path: Path) -> Counting:
    """The place of the shared store."""
    return Counting(tmp_path / "remote")


@pytest.fixture
def shared(place: Counting, there: Store) -> Shared:
    """The shared store, with the store of this machine."""
    return Shared(RemoteStore("r", place), there)


def pushed(place: FolderPlace, store: Store) -> str:
    """Give an artifact to a place, and return its key."""
    key = artifact(store, "x")
    push(RemoteStore("r", place), store, Yields.ARTIFACT, key)
    return key


@contextmanager
def pulling(shared: Shared, key: str) -> Iterator[list[bool]]:
    """Pull in a thread for the length of the block. It must end then. Yield the list of its result."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(shared.pull(Yields.ARTIFACT, key)), daemon=True)
    thread.start()
    yield found
    thread.join(20)
    assert not thread.is_alive()


def test_a_pull_that_waits_for_a_lock_does_not_stop_its_holder(
    shared: Shared, place: Counting, here: Store, there: Store
) -> None:
    key = pushed(place, here)
    held: list[bool] = []
    with there.locked(key) as mine, pulling(shared, key) as found:
        assert mine
        time.sleep(0.3)
        holder = threading.Thread(target=lambda: held.append(shared.pull(Yields.ARTIFACT, key, held=True)), daemon=True)
        holder.start()
        holder.join(20)
        assert held == [True]
    assert found == [True]


def test_a_pull_that_waits_for_a_lock_does_not_ask_the_remote(
    shared: Shared, place: Counting, here: Store, there: Store
) -> None:
    key = pushed(place, here)
    place.asked.clear()
    with ExitStack() as lock:
        assert lock.enter_context(there.locked(key))
        with pulling(shared, key) as found:
            time.sleep(1)
            waiting = len(place.asked)
            lock.close()
    assert found == [True]
    assert waiting <= 2


def test_a_result_that_the_remote_lacks_is_not_waited_for(shared: Shared, there: Store) -> None:
    with there.locked("a" * 64):
        assert not shared.pull(Yields.ARTIFACT, "a" * 64)
    assert not shared.pull(Yields.ARTIFACT, "a" * 64)


def test_a_lock_that_another_program_keeps_is_an_error(
    shared: Shared, place: Counting, here: Store, there: Store
) -> None:
    key = pushed(place, here)
    with there.locked(key), pytest.raises(StagewrightError) as caught:
        replace(shared, patience=0.2).pull(Yields.ARTIFACT, key)
    assert caught.value.reason is Reason.STORE_BUSY


def test_a_file_that_the_remote_has_lost_is_given_again(shared: Shared, place: Counting, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    blob = Blob(file_digest(path), 7)
    shared.put_file(blob, path)
    for lost in (f"caches/farm/{blob.digest}", blob_path(blob.digest)):
        place.remove(lost)
    replace(shared, known_for=0).put_file(blob, path)
    shared.get_file(blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"


def test_a_run_asks_once_a_minute_for_its_files(shared: Shared, place: Counting, tmp_path: Path) -> None:
    site = Site(tmp_path)
    out, node = FilesOut(shared), site.plan().steps["seed:one"].node
    packed = next(iter(out.give(node).values()))
    place.asked.clear()
    assert next(iter(out.give(node).values())) == packed
    assert place.asked == []
    place.remove(f"caches/farm/{packed.digest}")
    place.remove(blob_path(packed.digest))
    out.shared = replace(shared, known_for=0)
    again = next(iter(out.give(node).values()))
    assert (take(shared, again) / "usr" / "folder").exists()
