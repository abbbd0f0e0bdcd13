"""Results in use: the keys that running processes need, which a collection does not remove.

::

    locks/collection.lock    flock(2): shared while a process notes its keys, exclusive while a collection decides
    locks/use-<id>.keys      the keys of one process, one a line; the process holds flock(2) on the file

A run plans first, and finds results in the store. Then it notes their keys here, and looks again. Either a collection
sees the keys, or the second look of the run sees that a result is gone. A file whose process is dead does not count.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from stagewright.store.store import Store

_GATE = "collection.lock"


@contextlib.contextmanager
def in_use(store: Store, keys: Iterable[str]) -> Iterator[None]:
    """Keep results from collection for the length of a block. Waits while a collection decides (milliseconds)."""
    path = store.path / "locks" / f"use-{secrets.token_hex(8)}.keys"
    with contextlib.ExitStack() as held:
        with _gate(store, fcntl.LOCK_SH):
            stream = held.enter_context(path.open("w", encoding="utf-8"))
            held.callback(path.unlink, missing_ok=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.write("\n".join(keys))
            stream.flush()
        yield


@contextlib.contextmanager
def collecting(store: Store) -> Iterator[set[str]]:
    """Yield the keys in use. Until the block ends, no process can note more. Files of dead processes are removed."""
    with _gate(store, fcntl.LOCK_EX):
        for path in _notes(store):
            if _read(path) is None:
                path.unlink(missing_ok=True)
        yield keys_in_use(store)


def keys_in_use(store: Store) -> set[str]:
    """Return the keys that running processes have noted."""
    return set().union(*(_read(path) or () for path in _notes(store)))


def _notes(store: Store) -> list[Path]:
    return list((store.path / "locks").glob("use-*.keys"))


def _read(path: Path) -> list[str] | None:
    """Return the keys in a file; None if its process is dead."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return stream.read().split()
    return None


@contextlib.contextmanager
def _gate(store: Store, operation: int) -> Iterator[None]:
    with (store.path / "locks" / _GATE).open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, operation)
        yield
