"""Pulls at the same time that share parts of packs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from remote_results import artifact, check

from stagewright.events import Event, NodeProgress
from stagewright.graph.node import Yields
from stagewright.remote.file_places import FolderPlace
from stagewright.remote.pull import pull
from stagewright.remote.push import push
from stagewright.remote.remote import RemoteStore
from stagewright.store.integrity import State
from stagewright.store.store import Store

pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")

SIZE = 40 << 20


def test_parts_that_another_pull_removes_are_fetched_again(here: Store, there: Store, tmp_path: Path) -> None:
    key = artifact(here, "x", os.urandom(SIZE))
    push(RemoteStore("r", FolderPlace(tmp_path / "remote")), here, Yields.ARTIFACT, key)
    parts = there.cache("remote")
    removed: list[Path] = []

    def end_another_pull(event: Event) -> None:
        """Remove all parts, as a pull of the same parts does at its end, once: when all of them have arrived."""
        if not isinstance(event, NodeProgress) or removed:
            return
        end = time.monotonic() + 30
        while time.monotonic() < end:
            found = [path for path in parts.iterdir() if not path.name.startswith(".")]
            if sum(path.stat().st_size for path in found) >= SIZE:
                break
            time.sleep(0.01)
        for path in found:
            path.unlink()
        removed.extend(found)

    remote = RemoteStore("r", FolderPlace(tmp_path / "remote"), emit=end_another_pull)
    assert pull(remote, there, Yields.ARTIFACT, key)
    assert len(removed) >= 5
    assert check(there, Yields.ARTIFACT, key).state is State.WHOLE
    assert not list(parts.iterdir())
