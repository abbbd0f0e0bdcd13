"""The content of a remote: results with size and last use, pins, and removal of what was not used for the longest.

A collection removes statements first, then the blobs that no statement names. It spares what running programs use
(leases), pinned results, and blobs newer than :data:`GRACE`: a push may have sent them before its statement. An upload
to which nothing was added for so long was given up, and is removed as well. Results
share blobs, so the size that removal frees is known only at the end; results are removed until the rest fits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeProgress
from stagewright.graph.node import Yields
from stagewright.remote.place import Blob, blob_path, read_document, read_exactly
from stagewright.remote.remote import RemoteStore
from stagewright.remote.statement import Statement, blob_of

GRACE = 24 * 3600.0
"""Seconds for which a blob without a statement is kept, and an upload to which nothing is added."""


@dataclass(frozen=True)
class Kept:
    """A result of a remote. ``used`` is the time of its last use, or of its push (seconds since 1970)."""

    statement: Statement
    used: float
    pinned: bool = False
    in_use: bool = False


@dataclass(frozen=True)
class Inventory:
    """Everything in a remote: results, files of caches, blobs by digest with their sizes, and damaged statements."""

    results: tuple[Kept, ...]
    caches: Mapping[str, int]
    blobs: Mapping[str, int]
    damaged: tuple[StagewrightError, ...] = ()

    @property
    def size(self) -> int:
        """The size of all blobs in bytes."""
        return sum(self.blobs.values())


@dataclass(frozen=True)
class Collected:
    """The outcome of a collection: removed results, and bytes; and the size of what is left.

    ``uploads`` is the number of uploads that were given up.
    """

    removed: tuple[Kept, ...]
    freed: int
    left: int
    uploads: int = 0


def inventory(remote: RemoteStore) -> Inventory:
    """Return what a remote has."""
    used = {path: found.time for path, found in remote.listed("used").items()}
    pins = set(remote.listed("pins"))
    leased = _leased(remote)
    results, damaged = [], []
    for yields in Yields:
        for key, found in sorted(remote.listed(f"results/{yields.folder}").items()):
            name = f"{yields.folder}/{key}"
            try:
                statement = remote.statement(yields, key)
            except StagewrightError as error:
                damaged.append(error)
                continue
            if statement:
                last = max(found.time or statement.created, used.get(name, 0.0))
                results.append(Kept(statement, last, name in pins, key in leased))
    blobs: Mapping[str, int]
    if remote.place.lists:
        listed = remote.listed("blobs")
        blobs = {path.rpartition("/")[2]: found.size for path, found in listed.items()}
    else:
        blobs = {blob.digest: blob.size for one in results for blob in one.statement.blobs}
    caches = {path: found.size for path, found in remote.listed("caches").items()}
    return Inventory(tuple(results), caches, blobs, tuple(damaged))


def _leased(remote: RemoteStore) -> set[str]:
    """Return the keys that running programs use. Leases that are over are removed."""
    found: set[str] = set()
    for name in remote.listed("leases"):
        try:
            data = json.loads(read_document(remote.place, f"leases/{name}"))
            until, keys = float(data["until"]), [str(key) for key in data["keys"]]
        except (StagewrightError, ValueError, TypeError, KeyError):
            continue
        if until > time.time():
            found.update(keys)
        elif remote.writable:
            remote.remove(f"leases/{name}")
    return found


def pin(remote: RemoteStore, yields: Yields, key: str, *, pinned: bool) -> None:
    """Keep a result from removal, or no longer."""
    path = f"pins/{yields.folder}/{key}"
    if pinned:
        remote.write(path, b"pinned\n")
    else:
        remote.remove(path)


def collect(
    remote: RemoteStore,
    *,
    size: int | None = None,
    days: float | None = None,
    grace: float = GRACE,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Collected:
    """Remove results that were not used for so many days; then the least recently used until ``size`` bytes are left.

    ``grace`` are the seconds for which blobs without a statement, and uploads, are kept. Raises: USAGE if the remote is
    read-only.
    """
    if not remote.writable:
        raise StagewrightError(Reason.USAGE, f"remote {remote.name}: read-only ({remote.place.name})")
    found = inventory(remote)
    going = _going(found, size, days)
    staying = [one for one in found.results if one not in going]
    needed = {blob.digest for one in staying for blob in one.statement.blobs}
    files, wrong = _of_caches(remote, found)
    needed |= files
    damaged = [*found.damaged, *wrong]
    for error in damaged:
        report(f"skipped: {error.message}")
    garbage = {digest: count for digest, count in found.blobs.items() if digest not in needed}
    given_up = [one for one in remote.unfinished() if one.time and time.time() - one.time > grace]
    room = sum(one.size for one in given_up)
    if dry_run:
        freed = sum(garbage.values())
        return Collected(tuple(going), freed + room, found.size - freed, len(given_up))
    for upload in given_up:
        remote.attempts("remove", upload.remove)
    for one in going:
        _remove_statement(remote, one)
    # while a statement or a document cannot be read, its blobs are unknown
    freed = 0 if damaged else _remove_blobs(remote, garbage, going, grace)
    return Collected(tuple(going), freed + room, found.size - freed, len(given_up))


def _going(found: Inventory, size: int | None, days: float | None) -> list[Kept]:
    """Return the results to remove, least recently used first."""
    free = [one for one in sorted(found.results, key=lambda one: one.used) if not (one.pinned or one.in_use)]
    going = [one for one in free if days is not None and one.used < time.time() - days * 86400]
    if size is None:
        return going
    counts: dict[str, int] = {}
    for one in found.results:
        for blob in set(one.statement.blobs):
            counts[blob.digest] = counts.get(blob.digest, 0) + 1
    left = sum({blob.digest: blob.size for one in found.results for blob in one.statement.blobs}.values())
    order = [*going, *(one for one in free if one not in going)]
    chosen: list[Kept] = []
    for one in order:
        if one not in going and left <= size:
            break
        chosen.append(one)
        for blob in set(one.statement.blobs):
            counts[blob.digest] -= 1
            left -= blob.size if not counts[blob.digest] else 0
    return chosen


def _of_caches(remote: RemoteStore, found: Inventory) -> tuple[set[str], list[StagewrightError]]:
    """Return the digests of the files of caches, and what is wrong with documents: their blobs are unknown."""
    files = [_cache_blob(remote, path) for path in found.caches]
    wrong = [file for file in files if isinstance(file, StagewrightError) and file.reason is not Reason.NOT_FOUND]
    return {file.digest for file in files if isinstance(file, Blob)}, wrong


def _cache_blob(remote: RemoteStore, path: str) -> Blob | StagewrightError:
    """Return the blob that a document of a cache names, or what is wrong with the document.

    Strangers may have written it. Raises the failure of a place that does not answer.
    """
    where = f"caches/{path}"
    try:
        data = json.loads(remote.attempts("read", partial(read_document, remote.place, where)))
        return blob_of(data["sha256"], data["size"])
    except StagewrightError as error:
        if error.reason not in _DAMAGE:
            raise
        return error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return StagewrightError(Reason.BAD_LISTING, f"{remote.place.name}: {where}: invalid ({error})")


def _remove_statement(remote: RemoteStore, one: Kept) -> None:
    remote.remove(one.statement.path)
    remote.remove(f"used/{one.statement.yields.folder}/{one.statement.key}")


def _remove_blobs(remote: RemoteStore, garbage: Mapping[str, int], going: list[Kept], grace: float) -> int:
    """Remove blobs that nothing names, and return their size. All statements can be read.

    A run that has leased one of the removed results meanwhile finds that it is gone, and makes it. Blobs whose time the
    service does not say may be new, so only those of removed results go.
    """
    if not remote.place.lists:
        return 0
    mine = {blob.digest for one in going for blob in one.statement.blobs}
    known = remote.listed("blobs")
    now = {blob.digest for one in inventory(remote).results for blob in one.statement.blobs}  # pushed meanwhile
    freed = 0
    for path, info in known.items():
        digest = path.rpartition("/")[2]
        if digest not in garbage or digest in now:
            continue
        if digest in mine or (info.time and time.time() - info.time > grace):
            remote.remove(f"blobs/{path}")
            freed += info.size
    return freed


@dataclass(frozen=True)
class Check:
    """The outcome of a check of a remote: numbers of results and bytes that were read, and what is wrong.

    ``files`` is the number of files of caches. What is wrong with one of them has no statement.
    """

    results: int
    size: int
    problems: tuple[tuple[Statement | None, StagewrightError], ...]
    files: int = 0


def check(remote: RemoteStore, *, remove: bool = False) -> Check:
    """Read all blobs of a remote and compare them with their names: those of results, and the files of caches.

    With ``remove``, remove results and files that are damaged, and their blobs. A blob with the right digest can still
    be of a false result: that is found when it is pulled.
    """
    found = inventory(remote)
    blobs = _Blobs(remote)
    problems: list[tuple[Statement | None, StagewrightError]] = [(None, error) for error in found.damaged]
    total = len(found.results) + len(found.caches)
    for number, one in enumerate(found.results, 1):
        statement = one.statement
        wrong = next(filter(None, map(blobs.wrong, statement.blobs)), None)
        if wrong:
            problems.append((statement, wrong))
            if remove:
                _remove_statement(remote, one)
        remote.emit(NodeProgress(node=remote.name, done=number, total=total, name=f"{statement.node} verified"))
    for number, path in enumerate(sorted(found.caches), len(found.results) + 1):
        file = _cache_blob(remote, path)
        wrong = blobs.wrong(file) if isinstance(file, Blob) else file
        if wrong:
            problems.append((None, wrong))
            if remove:
                remote.remove(f"caches/{path}")
        remote.emit(NodeProgress(node=remote.name, done=number, total=total, name=f"caches/{path} verified"))
    if remove and remote.place.lists:
        for digest in blobs.damaged:
            remote.remove(blob_path(digest))
    return Check(len(found.results), blobs.size, tuple(problems), len(found.caches))


class _Blobs:
    """Blobs of a remote. Each is read once for each size that something names: a document may have a wrong one."""

    def __init__(self, remote: RemoteStore) -> None:
        self._verdicts: dict[tuple[str, int], StagewrightError | None] = {}
        self._remote = remote

    @property
    def size(self) -> int:
        """The number of bytes that were right, or should have been there."""
        return sum(size for _, size in self._verdicts)

    @property
    def damaged(self) -> set[str]:
        """The digests of blobs that are wrong with every size that something names."""
        right = {digest for (digest, _), error in self._verdicts.items() if not error}
        return {digest for digest, _ in self._verdicts} - right

    def wrong(self, blob: Blob) -> StagewrightError | None:
        """Return what is wrong with a blob; None if nothing is."""
        name = blob.digest, blob.size
        if name not in self._verdicts:
            self._verdicts[name] = _wrong(self._remote, blob.digest, blob.size)
        return self._verdicts[name]


_DAMAGE = (Reason.NOT_FOUND, Reason.FETCH_CUT, Reason.WRONG_LENGTH)
"""Reasons of errors that say that a file of a remote is not what it should be."""


def _wrong(remote: RemoteStore, digest: str, size: int) -> StagewrightError | None:
    """Return what is wrong with a blob; None if nothing is. Raises the failure of a place that does not answer."""

    def read() -> str:
        total = hashlib.sha256()
        for data in read_exactly(remote.place, blob_path(digest), 0, size):
            total.update(data)
        if not size:
            return digest
        return total.hexdigest()

    try:
        if remote.attempts("verify", read) == digest:
            return None
    except StagewrightError as error:
        if error.reason not in _DAMAGE:
            raise
        return error
    return StagewrightError(Reason.DIGEST_MISMATCH, f"{remote.place.name}: {blob_path(digest)}: altered")
