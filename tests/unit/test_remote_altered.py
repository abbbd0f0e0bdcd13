"""Data that a remote or a transfer has altered: it is fetched again, then taken from the next remote; never used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from remote_results import artifact, check

from stagewright.engine.farm.shared import Shared
from stagewright.engine.remotes import Remotes
from stagewright.events import Event, NodeNotice, ResultMoved
from stagewright.graph.node import Yields
from stagewright.project.remotes import Remote
from stagewright.remote.file_places import FolderPlace
from stagewright.remote.pull import pull
from stagewright.remote.push import push
from stagewright.remote.remote import RemoteStore
from stagewright.remote.statement import result_path
from stagewright.store.integrity import State
from stagewright.store.store import Store

pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")


def pushed(store: Store, folder: Path) -> str:
    """Give an artifact to a remote in a folder, and return its key."""
    key = artifact(store, "x")
    push(RemoteStore("r", FolderPlace(folder)), store, Yields.ARTIFACT, key)
    return key


@dataclass(frozen=True)
class Altering(FolderPlace):
    """A folder whose first answer about each file has a wrong byte."""

    read_before: set[str] = field(default_factory=set)

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of a file."""
        data = bytearray(b"".join(super().read(path, start, size)))
        if path not in self.read_before:
            data[len(data) // 2] ^= 1
        self.read_before.add(path)
        yield bytes(data)


def test_what_a_transfer_has_altered_is_fetched_again(here: Store, there: Store, tmp_path: Path) -> None:
    key = pushed(here, tmp_path / "remote")
    heard: list[Event] = []
    result = Altering(tmp_path / "remote", read_before={result_path(Yields.ARTIFACT, key)})
    assert pull(RemoteStore("r", result, emit=heard.append), there, Yields.ARTIFACT, key)
    assert check(there, Yields.ARTIFACT, key).state is State.WHOLE
    notices = [event.text for event in heard if isinstance(event, NodeNotice)]
    assert len(notices) == 4 and all("it is fetched again" in text for text in notices)


def test_a_farm_takes_a_result_whose_statement_was_altered_once(here: Store, there: Store, tmp_path: Path) -> None:
    key = pushed(here, tmp_path / "remote")
    remote = RemoteStore("r", Altering(tmp_path / "remote"))
    assert Shared(remote, there).pull(Yields.ARTIFACT, key)
    assert check(there, Yields.ARTIFACT, key).state is State.WHOLE


def test_the_next_remote_is_asked_for_what_one_has_altered(here: Store, there: Store, tmp_path: Path) -> None:
    key = pushed(here, tmp_path / "bad")
    pushed(here, tmp_path / "good")
    for path in (tmp_path / "bad/blobs").glob("*/*"):
        path.write_bytes(b"altered".ljust(path.stat().st_size, b"."))
    heard: list[Event] = []
    stores = [RemoteStore(name, FolderPlace(tmp_path / name)) for name in ("bad", "good")]
    remotes = Remotes(stores, {"bad": Remote(url="x"), "good": Remote(url="y")}, heard.append)
    assert remotes.pull(there, Yields.ARTIFACT, key, "iso")
    assert check(there, Yields.ARTIFACT, key).state is State.WHOLE
    assert [event.text[:11] for event in heard if isinstance(event, NodeNotice)] == ["remote bad:"]
    assert [event.remote for event in heard if isinstance(event, ResultMoved)] == ["good"]
