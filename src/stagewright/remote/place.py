"""Places that can hold a remote store. Every place has the same few operations.

A place has blobs and documents. A blob is named by the SHA-256 of its bytes and never changes. A document has a name of
words and slashes, is small, and is replaced at once; it refers to blobs::

    blobs/ab/<sha256>              contents of results (packs), lists, descriptions, files of caches
    results/layers/<key>           the statement about a result (remote/statement.py), written last
    results/artifacts/<key>
    latest/<node>                  the keys of the last results of a node, whose chunks a new result can share
    caches/<name>/<digest of path> a file of a cache: distfiles, seeds, binpkgs
    used/<yields>/<key>            when a result was last used; written at most once an hour
    pins/<yields>/<key>            a result that is never removed
    leases/<id>                    what a running program uses, until when

In a registry, a document is a tag whose manifest names the blobs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stagewright.errors import Reason, StagewrightError

SMALL = 16 << 20
"""The largest document (bytes)."""

CHUNK = 1 << 20

HIDDEN = "."
"""First character of the names of unfinished uploads."""

FOLDERS = ("blobs", "results", "latest", "caches", "used", "pins", "leases")
"""The folders of a place."""

SLOWEST = 1024
"""Bytes each second below which a transfer counts as stalled, after :data:`PATIENCE` seconds."""

PATIENCE = 60.0


@dataclass(frozen=True)
class Blob:
    """A blob: its SHA-256 in hexadecimal, and its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Found:
    """The facts in a listing about a document or a blob: size in bytes, and time of its last change (0: unknown)."""

    size: int
    time: float = 0.0


@dataclass(frozen=True)
class Unfinished:
    """An upload that is not complete: it runs, or was given up.

    ``size`` is in bytes, ``time`` that of the last write (seconds since 1970; 0: unknown). ``remove`` ends it.
    """

    path: str
    size: int
    time: float
    remove: Callable[[], None]


class Place(Protocol):
    """A place for a remote store.

    An operation that fails raises :class:`StagewrightError` or OSError; it can be tried again. All operations can be
    called by several threads.
    """

    @property
    def name(self) -> str:
        """The place for messages, without a password."""

    @property
    def writable(self) -> bool:
        """True if the place accepts uploads."""

    @property
    def lists(self) -> bool:
        """True if the place can list its blobs. Else it removes blobs itself that no document names."""

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of a blob or document from ``start`` on, ``size`` of them. Raises: NOT_FOUND if it is missing.

        The place may yield more or fewer bytes; :func:`read_exactly` checks that.
        """

    def has(self, path: str) -> bool:
        """Return True if a blob or document exists."""

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Upload a blob. Readers see all of it or nothing.

        ``own`` says that the caller will remove the source and nothing writes to it, so the place may keep it.
        """

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Write a document. Readers see the old or the new content. ``refers`` are the blobs that it names."""

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return all documents or blobs below a folder, by the rest of their path."""

    def unfinished(self) -> Sequence[Unfinished]:
        """Return the uploads that are not complete. A service that ends them itself has none."""

    def remove(self, path: str) -> None:
        """Remove a blob or document, if it exists."""

    def close(self) -> None:
        """End all connections."""


def blob_path(digest: str) -> str:
    """Return the path of a blob."""
    return f"blobs/{digest[:2]}/{digest}"


def read_exactly(place: Place, path: str, start: int, size: int) -> Iterator[bytes]:
    """Yield exactly so many bytes. Raises: WRONG_LENGTH for more, FETCH_CUT for fewer, FETCH_STALLED if too slow."""
    done, begun = 0, time.monotonic()
    for data in place.read(path, start, size):
        done += len(data)
        if done > size:
            raise StagewrightError(Reason.WRONG_LENGTH, f"{place.name}: {path}: more than {size} bytes")
        waited = time.monotonic() - begun
        if waited > PATIENCE and done < waited * SLOWEST:
            what = f"{place.name}: {path}: {done} bytes in {waited:.0f} seconds"
            raise StagewrightError(Reason.FETCH_STALLED, what)
        yield data
    if done < size:
        what = f"{place.name}: {path}: ended after {done} of {size} bytes"
        raise StagewrightError(Reason.FETCH_CUT, what)


def read_document(place: Place, path: str, limit: int = SMALL) -> bytes:
    """Return the content of a document. Raises: NOT_FOUND, or WRONG_LENGTH above the limit."""
    data, begun = bytearray(), time.monotonic()
    for part in place.read(path, 0, limit + 1):
        data += part
        if len(data) > limit:
            raise StagewrightError(Reason.WRONG_LENGTH, f"{place.name}: {path}: more than {limit} bytes")
        if time.monotonic() - begun > PATIENCE:
            raise StagewrightError(Reason.FETCH_STALLED, f"{place.name}: {path}: too slow")
    return bytes(data)


def read_blob(place: Place, blob: Blob, limit: int) -> bytes:
    """Return a whole small blob, checked. Raises: DIGEST_MISMATCH if it is not what its name says."""
    if not 0 <= blob.size <= limit:
        raise StagewrightError(Reason.WRONG_LENGTH, f"{place.name}: a blob of {blob.size} bytes (at most {limit})")
    data = b"".join(read_exactly(place, blob_path(blob.digest), 0, blob.size))
    if hashlib.sha256(data).hexdigest() != blob.digest:
        raise altered(place, blob)
    return data


def altered(place: Place, blob: Blob) -> StagewrightError:
    """Return the error for a blob whose bytes are not those of its name."""
    what = f"{place.name}: {blob_path(blob.digest)}: not the content that its name says"
    return StagewrightError(Reason.DIGEST_MISMATCH, what, hint="stagewright store verify NAME looks for more")


def missing(place: Place, path: str) -> StagewrightError:
    """Return the error for a blob or document that a place does not have."""
    return StagewrightError(Reason.NOT_FOUND, f"{place.name}: {path}: not found")
