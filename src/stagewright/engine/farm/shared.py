"""The remote store that a farm shares: each machine takes inputs from it and gives its results to it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.remote.place import Blob, blob_path, read_exactly
from stagewright.remote.pull import pull
from stagewright.remote.push import push
from stagewright.remote.remote import ALTERED, RemoteStore
from stagewright.remote.statement import result_path
from stagewright.store.store import Store

_WRONG = ALTERED | {Reason.NOT_FOUND}
"""Reasons for a pull that may succeed the next time: a wrong byte in a statement also leads to a wrong address."""

KNOWN = 60.0
"""Seconds for which a result that the remote had is taken to be there. Another program may remove it."""

LOCKED = 300.0
"""Seconds to wait for another program or thread of this machine that takes or makes the same result."""

_PAUSE = 0.1


@dataclass(frozen=True)
class Shared:
    """A remote with the store of this machine. Threads can use it together: each result is moved once at a time.

    A pull holds the lock of the key in the store. A push and a file hold a lock of this object, and wait for no other.
    ``known_for`` and ``patience`` are in seconds: see :data:`KNOWN` and :data:`LOCKED`.
    """

    remote: RemoteStore
    store: Store
    known_for: float = KNOWN
    patience: float = LOCKED
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _known: dict[str, float] = field(default_factory=dict)

    def _has(self, name: str, path: str) -> bool:
        if time.monotonic() - self._known.get(name, -self.known_for) < self.known_for:
            return True
        found = self.remote.exists(path)
        if found:
            self._known[name] = time.monotonic()
        return found

    @contextmanager
    def _one(self, name: str) -> Iterator[None]:
        with self._locks.setdefault(name, threading.Lock()):  # one step for all threads
            yield

    def has(self, yields: Yields, key: str) -> bool:
        """Return True if the remote has a result."""
        return self._has(f"{yields} {key}", result_path(yields, key))

    def pull(self, yields: Yields, key: str, *, held: bool = False) -> bool:
        """Bring a result into the store, with the layers below a layer. Return False if the remote lacks one.

        ``held`` is True if the caller holds the lock of the key. Raises: STORE_BUSY if another program or thread of
        this machine holds the lock of a key for too long.
        """
        stack = self._stack(yields, key)
        return all(self._pull_one(yields, one, held=held and one == key) for one in reversed(stack))

    def _stack(self, yields: Yields, key: str) -> list[str]:
        if yields is Yields.ARTIFACT:
            return [key]
        if self.store.has(yields, key):
            return list(self.store.meta(yields, key).stack)
        statement = self.remote.again(partial(self.remote.statement, yields, key))
        return list(statement.stack) if statement else [key]

    def _pull_one(self, yields: Yields, key: str, *, held: bool) -> bool:
        end = time.monotonic() + self.patience
        while not self.store.has(yields, key):
            with nullcontext(True) if held else self.store.locked(key) as mine:
                if mine:
                    take = partial(pull, self.remote, self.store, yields, key, held=True)
                    if self.remote.again(take, _WRONG) is None:
                        self._known.pop(f"{yields} {key}", None)
                        return False
            if not mine:  # who holds it makes the result, or takes it from the remote
                if not self.has(yields, key):
                    return self.store.has(yields, key)
                if time.monotonic() > end:
                    what = f"{self.store.path}: another program has locked {key[:12]} for {self.patience:.0f} s"
                    raise StagewrightError(Reason.STORE_BUSY, what, hint="run the same command again")
                time.sleep(_PAUSE)
        return True

    def push(self, yields: Yields, key: str) -> None:
        """Give a result of the store to the remote, with the layers below a layer, except what it has."""
        keys = self.store.meta(yields, key).stack if yields is Yields.LAYER else [key]
        for one in reversed(keys or [key]):
            with self._one(one):
                if not self.has(yields, one):
                    push(self.remote, self.store, yields, one)
                    self._known[f"{yields} {one}"] = time.monotonic()

    # files of projects

    def has_file(self, digest: str) -> bool:
        """Return True if the remote has a file of a project."""
        return self._has(digest, _document(digest))

    def put_file(self, blob: Blob, path: Path) -> None:
        """Give a file to the remote, unless it has it. A document names it, so that it is kept."""
        with self._one(blob.digest):
            if not self.has_file(blob.digest):
                self.remote.put(blob, path)
                self.remote.write(_document(blob.digest), _description(blob), [blob])
                self._known[blob.digest] = time.monotonic()

    def get_file(self, blob: Blob, target: Path) -> None:
        """Bring a file of the remote to a path. Raises: DIGEST_MISMATCH, or the failure of the remote."""

        def fetch() -> None:
            total = hashlib.sha256()
            with target.open("wb") as stream:
                for data in read_exactly(self.remote.place, blob_path(blob.digest), 0, blob.size):
                    total.update(data)
                    stream.write(data)
            if total.hexdigest() != blob.digest:
                what = f"{self.remote.place.name}: {blob_path(blob.digest)}: not the content that its name says"
                raise StagewrightError(Reason.DIGEST_MISMATCH, what)

        self.remote.again(partial(self.remote.attempts, "pull", fetch))


def _document(digest: str) -> str:
    return f"caches/farm/{digest}"


def _description(blob: Blob) -> bytes:
    return f'{{"path": "{blob.digest}", "sha256": "{blob.digest}", "size": {blob.size}}}'.encode()
