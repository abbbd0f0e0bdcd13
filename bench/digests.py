"""Storing the digests of many files, as the first plan over a large repository does."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.measure import Row, Setting
from stagewright.store.digest_cache import DigestCache

FILES = 20_000


def measure(setting: Setting) -> list[Row]:
    """Compare storing and reading back digests with SQLite doing so in one transaction each."""
    count = setting.count(FILES)
    names = [f"{number}.{'0' * 60}" for number in range(count)]
    floor = _seconds(lambda: _by_sqlite(setting.folder / "floor.db", names))
    store = _seconds(lambda: _by_cache(setting.folder / "digests.db", names))
    read = _seconds(lambda: _by_cache(setting.folder / "digests.db", names))
    note = f"{store:.2f} s to store, {read:.2f} s to read, against {floor:.2f} s"
    return [Row(f"store {count} digests / SQLite", store / floor, 10, "", note)]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _by_sqlite(path: Path, names: list[str]) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE digests (id TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
    with database:
        database.executemany("INSERT INTO digests VALUES (?, ?)", ((name, name) for name in names))
    assert len(database.execute("SELECT * FROM digests").fetchall()) == len(names)
    database.close()


def _by_cache(path: Path, names: list[str]) -> None:
    info = os.stat_result((0o100644, 1, 1, 1, 0, 0, 1, 0, 0, 0))  # an old file
    with DigestCache(path) as cache:
        for name in names:
            assert cache.recall(path, info, name, partial(str, name)) == name
