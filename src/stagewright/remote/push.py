"""Giving results to a remote.

Only chunks that the last results of the same node do not have are sent. They are compressed one by one and joined to
packs of :data:`PACK` bytes. The statement is written last: a result without it does not exist.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeProgress
from stagewright.graph.node import Yields
from stagewright.publish.target import missing_package
from stagewright.remote.chunks import Chunk, chunks_of
from stagewright.remote.file_places import EXTRA
from stagewright.remote.helper import ask, sending
from stagewright.remote.pieces import pieces_of
from stagewright.remote.place import Blob, blob_path
from stagewright.remote.remote import RemoteStore
from stagewright.remote.shared_chunks import (
    DIVIDED,
    REMEMBERED,
    Located,
    SharedChunks,
    divided_data,
    latest,
    latest_path,
    shared_chunks,
)
from stagewright.remote.statement import Index, IndexRow, Statement
from stagewright.run import Process
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.content import read_content
from stagewright.store.in_use import in_use
from stagewright.store.meta import Meta
from stagewright.store.store import Store

PACK = 16 << 20
"""A pack ends above this size (bytes)."""

LEVEL = 3
"""Level of zstd(1)."""

THREADS = 4
"""Number of threads that compress."""

_PAUSE = 16 << 20


@dataclass(frozen=True)
class Pushed:
    """The outcome of a push: sent bytes, size of the contents of the result, and True if it was there already."""

    sent: int
    size: int
    present: bool = False


def push(remote: RemoteStore, store: Store, yields: Yields, key: str) -> Pushed:
    """Give a result to a remote, unless it has it. Raises: NOT_BUILT or DAMAGED for the result, else the failure."""
    if not remote.writable:
        what = f"remote {remote.name}: read-only ({remote.place.name})"
        raise StagewrightError(Reason.USAGE, what, hint="name a remote that accepts uploads")
    with in_use(store, [key]):
        meta = store.meta(yields, key)
        if remote.has(yields, key):
            remote.used(yields, key)
            return Pushed(0, meta.size, present=True)
        if not meta.content:
            what = f"key {key[:12]}: without a list of its files (a former version of Stagewright made it)"
            raise StagewrightError(Reason.NOT_SUPPORTED, what, hint=f"stagewright rebuild {meta.node}")
        with store.scratch("push") as folder:
            try:
                return _Push(remote, store, yields, key, folder).run(shared_chunks(remote, meta.node))
            except StagewrightError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
            return _Push(remote, store, yields, key, folder).run(
                SharedChunks()
            )  # a pack to share was removed meanwhile


@dataclass
class _Push:
    remote: RemoteStore
    store: Store
    yields: Yields
    key: str
    folder: Path
    done: int = 0
    divided: dict[str, list[str]] = field(default_factory=dict)

    def run(self, shared: SharedChunks) -> Pushed:
        """Push the result. ``shared`` are chunks that the remote has."""
        result = self.store.folder(self.yields, self.key)
        meta = self.store.meta(self.yields, self.key)
        with _Uploads(self.remote) as uploads, sending(result, self.yields) as process:
            chunks = list(chunks_of(read_content(result / CONTENT, meta.content)))
            places = {chunk.name: found for chunk in chunks if (found := shared.of(chunk))}
            self._check(one.pack for found in places.values() for one in found)
            parts = self._parts(meta, uploads)
            wanted = {chunk.name: number for number, chunk in reversed(list(enumerate(chunks)))}
            numbers = sorted(number for name, number in wanted.items() if name not in places)
            if numbers:
                ask(process, [chunk.size for chunk in chunks], numbers)
                new = [chunks[number] for number in numbers]
                places.update(self._packs(process, meta.node, new, shared, uploads))
            rows = [one for chunk in chunks for one in places[chunk.name]]
            packs = list(dict.fromkeys(one.pack for one in rows))
            parts |= self._indices(chunks, places, packs, uploads)
        size = sum(chunk.size for chunk in chunks)
        statement = Statement(
            self.yields, self.key, meta.node, meta.kind, meta.created, size, tuple(meta.stack), parts, tuple(packs)
        )
        self._check(set(packs) - uploads.blobs)
        return Pushed(uploads.sent + self._write(statement), size)

    def _check(self, packs: Iterable[Blob]) -> None:
        """Raise NOT_FOUND if a pack whose chunks are shared was removed."""
        for pack in set(packs):
            if not self.remote.exists(blob_path(pack.digest)):
                raise StagewrightError(Reason.NOT_FOUND, f"{self.remote.place.name}: {blob_path(pack.digest)}")

    def _parts(self, meta: Meta, uploads: _Uploads) -> dict[str, Blob]:
        """Upload the description and the list, in the background."""
        result, records = self.store.folder(self.yields, self.key), self.store.records(self.yields, self.key)
        files = {"meta": result / "meta.json", "content": result / CONTENT, "records": records}
        return {name: self._part(name, path.read_bytes(), uploads) for name, path in files.items() if path.exists()}

    def _indices(
        self, chunks: Sequence[Chunk], places: dict[str, Sequence[Located]], packs: Sequence[Blob], uploads: _Uploads
    ) -> dict[str, Blob]:
        """Upload where the chunks are, and which of them were divided."""
        numbers = {pack: number for number, pack in enumerate(packs)}
        rows: list[IndexRow] = []
        divided: dict[str, tuple[int, int]] = {}
        for chunk in chunks:
            found = places[chunk.name]
            if chunk.divided:
                divided[chunk.name] = (len(rows), len(found))
            rows += [IndexRow(one.name, numbers[one.pack], one.start, one.length, one.size) for one in found]
        index = gzip.compress(Index(packs, rows).data(), 6, mtime=0)
        parts = {"index": self._part("index", index, uploads)}
        if divided:
            parts[DIVIDED] = self._part(DIVIDED, divided_data(divided), uploads)
        return parts

    def _part(self, name: str, data: bytes, uploads: _Uploads) -> Blob:
        path = self.folder / name
        path.write_bytes(data)
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        uploads.add(blob, path)
        return blob

    def _packs(
        self, process: Process, node: str, chunks: Sequence[Chunk], shared: SharedChunks, uploads: _Uploads
    ) -> dict[str, Sequence[Located]]:
        """Send chunks, which a process writes, in packs, and return their places."""
        assert process.stdout
        total = sum(chunk.size for chunk in chunks)
        contents = self._contents(process.stdout, chunks, shared, lambda size: self._progress(node, size, total))
        with _PackWriter(self.folder, uploads) as writer:
            for name, size, frame in _frames(contents):
                writer.add(name, size, frame)
            there = {**shared.located, **writer.places()}
        names = {chunk.name: self.divided[chunk.name] if chunk.divided else [chunk.name] for chunk in chunks}
        return {chunk: [there[name] for name in found] for chunk, found in names.items()}

    def _contents(
        self, stream: IO[bytes], chunks: Sequence[Chunk], shared: SharedChunks, report: Callable[[int], None]
    ) -> Iterator[tuple[str, bytes | memoryview]]:
        """Yield names and bytes of chunks, and of those pieces of divided ones that the remote does not have."""
        known = set(shared.located)
        for chunk in chunks:
            if not chunk.divided:
                content = stream.read(chunk.size)
                if len(content) != chunk.size:
                    raise EOFError
                yield chunk.name, content
                report(len(content))
                continue
            names = self.divided[chunk.name] = []
            for data in pieces_of(stream, chunk.size):
                name = hashlib.sha256(data).hexdigest()
                names.append(name)
                if name not in known:
                    known.add(name)
                    yield name, data
                report(len(data))

    def _progress(self, node: str, size: int, total: int) -> None:
        before, self.done = self.done, self.done + size
        if before // _PAUSE != self.done // _PAUSE:
            name = f"MiB to {self.remote.name}"
            self.remote.emit(NodeProgress(node=node, done=self.done >> 20, total=-(-total >> 20), name=name))

    def _write(self, statement: Statement) -> int:
        """Write the statement, and note that it is the last result of its node. Return the number of bytes."""
        document = self.remote.policy.document(statement)
        others = [one for one in latest(self.remote, statement.node) if one != (self.yields, self.key)]
        listed = json.dumps([[self.yields.value, self.key], *others[: REMEMBERED - 1]]).encode()
        with ThreadPoolExecutor(1) as pool:
            noted = pool.submit(self.remote.write, latest_path(statement.node), listed)
            self.remote.write(statement.path, document, statement.blobs)
            noted.result()
        return len(document)


def _frames(contents: Iterable[tuple[str, bytes | memoryview]]) -> Iterator[tuple[str, int, bytes]]:
    """Yield names of chunks with their sizes and their compressed content, which several threads compress."""
    compress = compressor()
    waiting: deque[tuple[str, int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for name, data in contents:
            waiting.append((name, len(data), pool.submit(compress, data)))
            if len(waiting) > 4 * THREADS:
                done, size, frame = waiting.popleft()
                yield done, size, frame.result()
        for done, size, frame in waiting:
            yield done, size, frame.result()


def compressor() -> Any:
    """Return a function that compresses bytes to one frame of zstd. Raises: MISSING_TOOL without its package."""
    try:
        import zstandard  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing_package("zstandard", EXTRA) from error
    threads = threading.local()

    def compress(data: bytes | memoryview) -> bytes:
        if not hasattr(threads, "context"):
            threads.context = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        frame: bytes = threads.context.compress(data)
        return frame

    return compress


class _Uploads:
    """Uploads of blobs by several threads. At most twice as many wait as there are connections.

    ``sent`` are the bytes of those that the remote did not have; ``blobs`` are all. Both are complete after the block.
    """

    def __init__(self, remote: RemoteStore) -> None:
        self.sent = 0
        self.blobs: set[Blob] = set()
        self._remote = remote
        self._pool = ThreadPoolExecutor(remote.connections)
        self._waiting: deque[Future[int]] = deque()

    def add(self, blob: Blob, path: Path) -> None:
        """Upload a file in the background, and remove it."""
        if blob in self.blobs:
            path.unlink()
            return
        self.blobs.add(blob)
        self._waiting.append(self._pool.submit(self._upload, blob, path))
        while len(self._waiting) > 2 * self._remote.connections:
            self.sent += self._waiting.popleft().result()

    def _upload(self, blob: Blob, path: Path) -> int:
        sent = 0
        if not self._remote.exists(blob_path(blob.digest)):
            self._remote.put(blob, path, own=True)
            sent = blob.size
        path.unlink(missing_ok=True)
        return sent

    def __enter__(self) -> _Uploads:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self.sent += self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class _PackWriter:
    """Joins frames to packs. A thread writes each pack, while the frames of the next one come."""

    folder: Path
    uploads: _Uploads
    _frames: list[bytes] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)
    _size: int = 0
    _found: dict[str, Located] = field(default_factory=dict)
    _thread: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1))
    _written: Future[None] | None = None

    def add(self, name: str, size: int, frame: bytes) -> None:
        """Add a chunk of this size (bytes, uncompressed)."""
        self._rows.append((name, self._size, len(frame), size))
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > PACK:
            self._end()

    def places(self) -> dict[str, Located]:
        """Return where the chunks are, after the last pack was written."""
        self._end()
        self._wait()
        return self._found

    def _end(self) -> None:
        """Wait for the pack before, and have this one written. So no more than two are in memory."""
        self._wait()
        if self._frames:
            self._written = self._thread.submit(self._write, self._frames, self._rows)
            self._frames, self._rows, self._size = [], [], 0

    def _wait(self) -> None:
        if self._written:
            self._written.result()
            self._written = None

    def _write(self, frames: Sequence[bytes], rows: Sequence[_Row]) -> None:
        """Write a pack, and upload it in the background."""
        total = hashlib.sha256()
        path = self.folder / f"pack{len(self._found)}"
        with path.open("wb") as stream:
            for frame in frames:
                total.update(frame)
            stream.writelines(frames)
        blob = Blob(total.hexdigest(), sum(map(len, frames)))
        for name, start, length, size in rows:
            self._found[name] = Located(name, blob, start, length, size)
        self.uploads.add(blob, path)

    def __enter__(self) -> _PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


_Row = tuple[str, int, int, int]
"""A chunk in a pack: name, first byte and length of the frame, size of the chunk."""
