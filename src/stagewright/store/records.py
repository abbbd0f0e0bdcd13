"""Records that a store keeps for people, and facts that it remembers: what of them is old, and its removal.

Logs, events, histories, locks and remembered facts are small, but there are some for each run. The newest log of a node
stays, and so does the history of a node that a registered project has.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.locks import remove_lock
from stagewright.store.collect import Garbage, collect, damaged_results, unneeded, unused_caches
from stagewright.store.digest_cache import DigestCache
from stagewright.store.names import file_name
from stagewright.store.store import Store

_DAY = 86400


@dataclass(frozen=True)
class OldRecords:
    """Records that can go: their paths, and their size in bytes."""

    paths: tuple[Path, ...]
    size: int
    days: float

    def __str__(self) -> str:
        return f"{len(self.paths)} logs, events, histories and locks, unused for {self.days:g} days"


def old_records(store: Store, days: float) -> OldRecords:
    """Return the records that were not used for so many days."""
    limit = time.time() - days * _DAY
    found, size = [], 0
    for path in _candidates(store):
        with contextlib.suppress(OSError):
            info = path.lstat()
            if info.st_mtime < limit:
                found.append(path)
                size += info.st_size
    return OldRecords(tuple(found), size, days)


def remove_records(store: Store, records: OldRecords) -> int:
    """Remove old records, and facts that no plan has used for as long. Return the number of bytes that were freed."""
    for path in records.paths:
        if path.parent.name == "locks":
            remove_lock(path)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
        if path.parent.parent.parent == store.path / "logs":
            with contextlib.suppress(OSError):  # it has other logs
                path.parent.rmdir()
    with DigestCache(store.memory("digests.db")) as facts:
        facts.forget(records.days)
    return records.size


def collect_all(
    store: Store, needed: set[str], days: float, report: Callable[[str], None], *, dry_run: bool
) -> tuple[list[Garbage], int]:
    """Remove all that is neither needed nor used for so many days. Return what goes, and the bytes that were freed."""
    garbage = [*unneeded(store, needed, report), *damaged_results(store), *unused_caches(store, days)]
    old = old_records(store, days)
    listed = [*garbage, *([Garbage(store.path / "logs", str(old), old.size, "")] if old.paths else [])]
    if dry_run:
        return listed, 0
    return listed, collect(store, garbage, report) + remove_records(store, old)


def _candidates(store: Store) -> Iterator[Path]:
    yield from (store.path / "events").glob("*.jsonl")
    yield from store.cache("trees").glob("*")
    yield from (store.path / "contents").glob("*")
    yield from (path for path in (store.path / "locks").glob("*.lock") if path.name != "collection.lock")
    known = _registered_nodes(store)
    for folder in (store.path / "logs").glob("*/*"):
        logs = sorted(folder.glob("*.log"), key=lambda path: path.name)
        yield from logs if folder.name not in known else logs[:-1]
    for path in (store.path / "history").glob("*/*"):
        if path.name.rpartition(".")[0] not in known:
            yield path


def _registered_nodes(store: Store) -> set[str]:
    """Return the names of files of all nodes that the projects of the store have, unless their folder is gone."""
    names: set[str] = set()
    for path in (store.path / "projects").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            data = json.loads(path.read_text(encoding="utf-8"))
            if Path(data["project"]).exists():
                names.update(_names(data["keys"]))
    return names


def _names(nodes: Iterable[str]) -> Iterator[str]:
    return (file_name(node) for node in nodes)
