"""When the objects of a remote were written, which decides what a collection may remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from remote_results import artifact

from stagewright.graph.node import Yields
from stagewright.remote import keep
from stagewright.remote.file_places import FolderPlace, time_of
from stagewright.remote.place import Found, blob_path
from stagewright.remote.push import push
from stagewright.remote.remote import RemoteStore
from stagewright.store.store import Store

pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")

DAY = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": DAY},
        {"updated": "2026-01-02T00:00:00.000Z"},
        {"created": DAY.replace(tzinfo=None)},
        {"mtime": DAY.timestamp()},
    ],
)
def test_services_give_times_in_several_ways(info: dict[str, Any]) -> None:
    assert time_of(info) == DAY.timestamp()


@pytest.mark.parametrize("info", [{}, {"updated": "yesterday"}, {"modified": None}])
def test_a_time_that_is_not_known_is_zero(info: dict[str, Any]) -> None:
    assert time_of(info) == 0


@dataclass(frozen=True)
class Timeless(FolderPlace):
    """A service that does not say when an object was written."""

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return what a folder has, without times."""
        return {name: Found(one.size) for name, one in super().listed(folder).items()}


def test_a_blob_that_may_be_new_stays(tmp_path: Path) -> None:
    place = Timeless(tmp_path / "remote")
    remote, store = RemoteStore("r", place), Store(tmp_path / "store")
    key = artifact(store, "a")
    push(remote, store, Yields.ARTIFACT, key)
    blob = place.folder / blob_path("0" * 64)  # another push has sent it before its statement
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(b"new")
    assert keep.collect(remote, grace=0).freed == 0
    assert blob.exists()
    assert [one.statement.key for one in keep.collect(remote, size=0).removed] == [key]
    assert blob.exists()
