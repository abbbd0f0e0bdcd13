"""Files of the caches in a remote: distfiles, seeds and binary packages.

A document ``caches/<name>/<digest of the path>`` has the path of the file below ``cache/<name>`` of a store, its
SHA-256 and its size; the file is a blob. Where the remote has a key to sign with, the document also has a ``statement``
with these facts and the name of the cache, and its ``signatures``; with ``signers`` only signed files are taken. A file
that is pulled gets its name when all of it has arrived. A file that the store has already is never replaced.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeProgress
from stagewright.graph.file_digest import file_digest
from stagewright.remote.place import Blob, blob_path, read_document, read_exactly
from stagewright.remote.remote import RemoteStore
from stagewright.remote.statement import blob_of
from stagewright.store.store import Store
from stagewright.trees import files_below

CACHES = ("distfiles", "seeds", "binpkgs")
"""Caches that a remote can have."""

_UNFINISHED = (".part", ".tmp")


@dataclass(frozen=True)
class CacheFile:
    """A file of a cache: the name of the cache, its path below it, and its blob."""

    cache: str
    path: str
    blob: Blob

    @property
    def document(self) -> str:
        """The path of the document."""
        return f"caches/{self.cache}/{hashlib.sha256(self.path.encode()).hexdigest()}"

    @property
    def facts(self) -> dict[str, Any]:
        """The facts in its document."""
        return {"path": self.path, "sha256": self.blob.digest, "size": self.blob.size}

    def text(self) -> str:
        """Return the text that is signed."""
        return json.dumps({**self.facts, "cache": self.cache}, sort_keys=True)


@dataclass(frozen=True)
class Moved:
    """Numbers of files that were transferred, and their bytes."""

    files: int
    size: int


def push_cache(remote: RemoteStore, store: Store, cache: str) -> Moved:
    """Give the files of a cache to a remote, except those that it has. Raises: USAGE if it is read-only."""
    if not remote.writable:
        raise StagewrightError(Reason.USAGE, f"remote {remote.name}: read-only ({remote.place.name})")
    folder = store.cache(cache)
    names = [name for name in files_below(folder) if _is_finished(name)]
    files = size = 0
    for number, name in enumerate(names, 1):
        path = folder / name
        one = CacheFile(cache, name, Blob(file_digest(path), path.stat().st_size))
        if not _is_there(remote, one):
            if not remote.exists(blob_path(one.blob.digest)):
                with store.scratch("push") as scratch:
                    link = scratch / "file"
                    link.symlink_to(path)
                    remote.put(one.blob, link)
                size += one.blob.size
            signed = remote.policy.signed(one.text()) if remote.policy.sign else {}
            remote.write(one.document, json.dumps({**one.facts, **signed}).encode(), [one.blob])
            files += 1
        remote.emit(NodeProgress(node=cache, done=number, total=len(names), name=name))
    return Moved(files, size)


def _is_there(remote: RemoteStore, one: CacheFile) -> bool:
    """Return True if the remote has a file, signed if this computer signs."""
    if not remote.policy.sign or not remote.exists(one.document):
        return remote.exists(one.document)
    try:
        found = json.loads(read_document(remote.place, one.document))
        return bool(found["signatures"]) and found["statement"] == one.text()
    except (ValueError, TypeError, KeyError):
        return False


def pull_cache(remote: RemoteStore, store: Store, cache: str) -> Moved:
    """Take the files of a cache from a remote, except those that the store has."""
    found = list(cache_files(remote, cache))
    files = size = 0
    for number, one in enumerate(found, 1):
        target = store.cache(cache) / one.path
        if not target.exists():
            remote.attempts("pull", functools.partial(_fetch, remote, one, target))
            files, size = files + 1, size + one.blob.size
        remote.emit(NodeProgress(node=cache, done=number, total=len(found), name=one.path))
    return Moved(files, size)


def cache_files(remote: RemoteStore, cache: str) -> Iterator[CacheFile]:
    """Yield the files of a cache in a remote.

    Raises: UNSAFE_ARCHIVE for a path that leads out of the cache, and the errors of signatures if the remote has
    ``signers``.
    """
    for name in sorted(remote.listed(f"caches/{cache}")):
        where = f"{remote.place.name}: caches/{cache}/{name}"
        document = read_document(remote.place, f"caches/{cache}/{name}")
        try:
            data = json.loads(document)
            path, blob = data["path"], blob_of(data["sha256"], data["size"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StagewrightError(Reason.BAD_LISTING, f"{where}: invalid ({error})") from error
        if not isinstance(path, str) or not is_inside(path):
            raise StagewrightError(Reason.UNSAFE_ARCHIVE, f"{where}: refused (the path {str(path)[:80]!r})")
        found = CacheFile(cache, path, blob)
        if remote.policy.signers:
            _check_signed(remote, found, document, data, where)
        yield found


def _check_signed(remote: RemoteStore, one: CacheFile, document: bytes, data: Mapping[str, Any], where: str) -> None:
    """Raise what :meth:`Policy.verified` does, or WRONG_NAME if the signature is about another file."""
    if "statement" not in data:
        hint = "push it again with `sign`, or remove `signers` of the remote"
        raise StagewrightError(Reason.NO_SIGNATURE, f"{where}: not signed by a key of `signers`", hint=hint)
    if remote.policy.verified(document, where) != one.text():
        raise StagewrightError(Reason.WRONG_NAME, f"{where}: the signature is about another file")


def is_inside(path: str) -> bool:
    """Return True for a relative path of plain names."""
    parts = path.split("/")
    return bool(path) and "\0" not in path and all(part not in ("", ".", "..") for part in parts)


def _fetch(remote: RemoteStore, one: CacheFile, target: Path) -> None:
    if any(parent.is_symlink() for parent in target.parents):
        raise StagewrightError(Reason.UNSAFE_ARCHIVE, f"{target}: below a symbolic link")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    total = hashlib.sha256()
    try:
        with temporary.open("xb") as stream:
            for data in read_exactly(remote.place, blob_path(one.blob.digest), 0, one.blob.size):
                total.update(data)
                stream.write(data)
        if total.hexdigest() != one.blob.digest:
            what = f"{remote.place.name}: {one.path}: not the content that was pushed"
            raise StagewrightError(Reason.DIGEST_MISMATCH, what)
        temporary.chmod(0o644)
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)


def _is_finished(name: str) -> bool:
    """Return True for the name of a file that is complete."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and not base.endswith(_UNFINISHED) and is_inside(name)
