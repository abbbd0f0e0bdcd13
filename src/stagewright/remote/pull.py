"""Taking results from a remote. No part of a result is visible in the store before all of it was verified.

1. The statement names the key, and is signed if the policy asks for it.
2. ``meta.json`` has the digest that the statement names, its own seal is right, and its key is the digest of its data.
3. The list has the digest that ``meta.json`` names.
4. The contents of all files have the digests of the list, while they are written (remote/bodies.py).

Parts that have arrived are kept until the result is complete, so a transfer that was cut goes on::

    cache/remote/<pack>.<start>-<length>
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeProgress
from stagewright.graph.keys import Key
from stagewright.graph.node import Yields
from stagewright.publish.target import missing_package
from stagewright.remote.file_places import EXTRA
from stagewright.remote.helper import restoring
from stagewright.remote.place import Blob, blob_path, read_blob, read_exactly
from stagewright.remote.remote import ALTERED, RemoteStore
from stagewright.remote.shared_chunks import LIST_LIMIT, unpacked
from stagewright.remote.statement import Index, IndexRow, Statement
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.meta import Meta
from stagewright.store.store import Store
from stagewright.trees import remove_tree

GAP = 64 << 10
"""Chunks of a pack with a gap of up to so many bytes are fetched together."""

EXTENT = 8 << 20
"""Bytes that are fetched with one request."""

META_LIMIT = 64 << 20

_OPENED = 4
_RATIO = 100
_ROOM = 64 << 20
_OLD = 86400.0


@dataclass(frozen=True)
class Pulled:
    """The outcome of a pull: bytes that were received, and the size of the contents of the result."""

    received: int
    size: int


def pull(remote: RemoteStore, store: Store, yields: Yields, key: str, *, held: bool = False) -> Pulled | None:
    """Take one result from a remote; None if the remote lacks it, or another process makes it now.

    ``held`` is True if the caller holds the lock of the key. The layers below a layer are not taken. Raises the
    failure, with the reason for a result that is not what its key says. The store then has no part of it.
    """
    with contextlib.nullcontext(True) if held else store.locked(key) as mine:
        if not mine:
            return None
        if store.has(yields, key):
            return Pulled(0, 0)
        statement = remote.statement(yields, key)
        if statement is None:
            return None
        folder = store.new_work(key)
        try:
            found = _Pull(remote, store, statement, folder).run()
        except BaseException:
            remove_tree(folder)
            raise
        remote.used(yields, key)
        return found


@dataclass(frozen=True)
class _Extent:
    """Bytes of a pack that are fetched together."""

    pack: Blob
    start: int
    length: int

    @property
    def file(self) -> str:
        return f"{self.pack.digest}.{self.start}-{self.length}"


def decompressor() -> Any:
    """Return a function that decompresses one frame to bytes of a known size. Raises: BAD_ARCHIVE if it cannot."""
    try:
        import zstandard  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing_package("zstandard", EXTRA) from error
    context = zstandard.ZstdDecompressor()

    def decompress(frame: bytes, size: int) -> bytes:
        try:
            known = zstandard.frame_content_size(frame)
            data: bytes = context.decompress(frame, max_output_size=size) if known == size else b""
        except zstandard.ZstdError as error:
            raise StagewrightError(Reason.BAD_ARCHIVE, f"damaged ({error})") from error
        if len(data) != size:
            raise StagewrightError(Reason.BAD_ARCHIVE, "damaged (a chunk of another size)")
        return data

    return decompress


@dataclass
class _Pull:
    remote: RemoteStore
    store: Store
    statement: Statement
    folder: Path
    done: int = 0
    _received: list[int] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)
    _decompress: Any = field(default_factory=decompressor)

    def run(self) -> Pulled:
        """Fetch everything, make the tree, and move it into the store."""
        statement = self.statement
        self._check_room()
        meta = self._meta()
        self._write_part("content", CONTENT)
        _check_list(self.folder / CONTENT, meta.content)
        if "records" in statement.parts:
            self._write_part("records", "packages.gz")
        index = Index.parse(
            unpacked(self._part("index"), LIST_LIMIT), statement.packs, statement.size, self.remote.place.name
        )
        parts = self.store.cache("remote")
        parts.mkdir(exist_ok=True)
        _sweep(parts)
        try:
            with restoring(self.folder, statement.yields, meta.created) as process:
                assert process.stdin
                for data in self._contents(index, parts):
                    process.stdin.write(data)
        except StagewrightError as error:
            if error.reason in ALTERED:
                self._forget()
                raise self._with_key(error) from error
            raise
        self._forget()  # before all of it is written to the disk, so that the parts are not
        self.store.receive(self.folder, statement.yields, meta)
        return Pulled(sum(self._received), statement.size)

    def _with_key(self, error: StagewrightError) -> StagewrightError:
        what = f"{self.remote.place.name}: {self.statement.node} ({self.statement.key[:12]}): {error.message}"
        hint = error.hint or f"stagewright store verify {self.remote.name} --remove"
        return StagewrightError(error.reason, what, hint=hint, detail=error.detail)

    def _check_room(self) -> None:
        needed = self.statement.size + self.statement.stored
        free = shutil.disk_usage(self.store.path).free
        if free < needed:
            what = f"{self.statement.node}: no room for {needed >> 20} MiB in the store ({free >> 20} MiB free)"
            hint = "stagewright gc removes results that no project needs"
            raise StagewrightError(Reason.DISK_FULL, what, hint=hint)

    def _part(self, name: str) -> bytes:
        blob = self.statement.parts[name]
        limit = META_LIMIT if name == "meta" else LIST_LIMIT
        read = partial(self.remote.attempts, "pull", lambda: read_blob(self.remote.place, blob, limit))
        data = self.remote.again(read)
        self._received.append(len(data))
        return data

    def _write_part(self, name: str, target: str) -> None:
        (self.folder / target).write_bytes(self._part(name))

    def _meta(self) -> Meta:
        """Return the description of the result. Raises: DAMAGED if it is not that of the key."""
        statement = self.statement
        try:
            meta = Meta(**json.loads(self._part("meta")))
            right = (
                meta.key == statement.key
                and Key.of(meta.data).digest == statement.key
                and meta.sealed() == meta
                and tuple(meta.stack) == statement.stack
                and bool(meta.content)
                and (meta.stack[:1] == [meta.key]) == (statement.yields is Yields.LAYER)
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise self._wrong(str(error)) from error
        if not right:
            raise self._wrong("meta.json is that of another result")
        return meta

    def _wrong(self, why: str) -> StagewrightError:
        what = f"{self.remote.place.name}: {self.statement.path}: refused ({why})"
        return StagewrightError(Reason.DIGEST_MISMATCH, what)

    def _contents(self, index: Index, parts: Path) -> Iterator[bytes]:
        """Yield the contents of all chunks in their order, while further ones are fetched."""
        extents = extents_of(index)
        order = list(dict.fromkeys(extents))
        with ThreadPoolExecutor(self.remote.connections) as pool:
            waiting: dict[_Extent, Future[Path]] = {}
            ahead = iter(order)
            opened: dict[_Extent, bytes] = {}
            try:
                for row, extent in zip(index.rows, extents, strict=True):
                    while len(waiting) < 2 * self.remote.connections and (more := next(ahead, None)):
                        waiting[more] = pool.submit(self._fetch, more, parts)
                    if extent not in opened:
                        if extent in waiting:
                            waiting.pop(extent).result()
                        if len(opened) >= _OPENED:
                            del opened[next(iter(opened))]
                        opened[extent] = self._read(extent, parts)
                    yield self._chunk(row, extent, opened, parts)
                    self._progress(row.size)
            finally:
                for one in waiting.values():
                    one.cancel()

    def _chunk(self, row: IndexRow, extent: _Extent, opened: dict[_Extent, bytes], parts: Path) -> bytes:
        """Return the content of a chunk. If its compressed bytes are damaged, their extent is fetched again."""
        start = row.start - extent.start

        def content() -> bytes:
            if extent not in opened:
                opened[extent] = self._read(extent, parts)
            try:
                data: bytes = self._decompress(opened[extent][start : start + row.length], row.size)
            except StagewrightError:
                del opened[extent]
                (parts / extent.file).unlink(missing_ok=True)
                raise
            return data

        return self.remote.again(content)

    def _progress(self, size: int) -> None:
        before, self.done = self.done, self.done + size
        if before >> 24 != self.done >> 24:
            name, total = f"MiB from {self.remote.name}", -(-self.statement.size >> 20)
            self.remote.emit(NodeProgress(node=self.statement.node, done=self.done >> 20, total=total, name=name))

    def _read(self, extent: _Extent, parts: Path) -> bytes:
        """Return the bytes of an extent, which is fetched if it is not here.

        Another pull with the same extent removes the file at its end. Then the bytes are fetched without a file.
        """
        with contextlib.suppress(FileNotFoundError):
            return self._fetch(extent, parts).read_bytes()
        data = self.remote.attempts("pull", lambda: b"".join(self._sent(extent)))
        self._received.append(extent.length)
        return data

    def _sent(self, extent: _Extent) -> Iterator[bytes]:
        return read_exactly(self.remote.place, blob_path(extent.pack.digest), extent.start, extent.length)

    def _fetch(self, extent: _Extent, parts: Path) -> Path:
        """Fetch an extent, unless a former transfer has left it. Return its file."""
        target = parts / extent.file
        self._files.append(target)
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == extent.length:
                return target

        def transfer() -> None:
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            try:
                with temporary.open("wb") as stream:
                    stream.writelines(self._sent(extent))
                temporary.rename(target)
            finally:
                temporary.unlink(missing_ok=True)

        self.remote.attempts("pull", transfer)
        self._received.append(extent.length)
        return target

    def _forget(self) -> None:
        for path in self._files:
            path.unlink(missing_ok=True)


def extents_of(index: Index) -> Sequence[_Extent]:
    """Return for each row of an index the extent that its chunk is fetched with."""
    by_pack: dict[int, set[tuple[int, int]]] = {}
    for row in index.rows:
        by_pack.setdefault(row.pack, set()).add((row.start, row.length))
    found: dict[tuple[int, int, int], _Extent] = {}
    for pack, pieces in by_pack.items():
        group: list[tuple[int, int]] = []
        end = 0
        for start, length in sorted(pieces):
            if group and (start - end > GAP or start + length - group[0][0] > EXTENT):
                _note(found, pack, index.packs[pack], group, end)
                group = []
            group.append((start, length))
            end = max(end, start + length)
        _note(found, pack, index.packs[pack], group, end)
    return [found[row.pack, row.start, row.length] for row in index.rows]


def _note(
    found: dict[tuple[int, int, int], _Extent], number: int, pack: Blob, group: Sequence[tuple[int, int]], end: int
) -> None:
    """Note the extent of chunks that are fetched together."""
    start = group[0][0]
    extent = _Extent(pack, start, end - start)
    found.update({(number, *one): extent for one in group})


def _check_list(path: Path, digest: str) -> None:
    """Raise DIGEST_MISMATCH if a list does not have this digest, or is out of proportion."""
    total, size = hashlib.sha256(), 0
    most = _RATIO * path.stat().st_size + _ROOM
    try:
        with gzip.open(path) as stream:
            while data := stream.read(1 << 20):
                total.update(data)
                size += len(data)
                if size > most:
                    raise StagewrightError(Reason.ARCHIVE_TOO_LARGE, f"the list of files has more than {most} bytes")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StagewrightError(Reason.BAD_LISTING, f"the list of files is damaged ({error})") from error
    if f"sha256:{total.hexdigest()}" != digest:
        raise StagewrightError(Reason.DIGEST_MISMATCH, "the list of files is not that of the result")


def _sweep(folder: Path) -> None:
    """Remove parts of transfers that did not go on for a day."""
    limit = time.time() - _OLD
    for path in folder.iterdir():
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
        except FileNotFoundError:  # another process removed it
            continue
