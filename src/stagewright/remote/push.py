"""Giving results to a remote.

Only chunks that the last results of the same node do not have are sent. They are compressed one by one and joined to
packs of :data:`PACK` bytes. The statement is written last: a result without it does not exist.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeProgress
from stagewright.graph.node import Yields
from stagewright.publish.target import missing_package
from stagewright.remote.bodies import ranges
from stagewright.remote.chunks import Chunk, chunks_of
from stagewright.remote.file_places import EXTRA
from stagewright.remote.helper import sending
from stagewright.remote.place import Blob, blob_path, read_blob, read_document
from stagewright.remote.remote import RemoteStore
from stagewright.remote.statement import Index, IndexRow, Statement
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.content import read_content
from stagewright.store.in_use import in_use
from stagewright.store.store import Store

PACK = 16 << 20
"""A pack ends above this size (bytes)."""

LEVEL = 3
"""Level of zstd(1)."""

LIST_LIMIT = 512 << 20
"""The largest list and index (bytes)."""

REMEMBERED = 3
"""Number of former results of a node whose chunks a new one can share."""

_PAUSE = 1 << 20
_THREADS = 4


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
                return _Push(remote, store, yields, key, folder).run(_known(remote, meta.node))
            except StagewrightError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
            return _Push(remote, store, yields, key, folder).run({})  # a pack to share was removed meanwhile


@dataclass(frozen=True)
class _Place:
    """Where a chunk is in the remote."""

    pack: Blob
    start: int
    length: int


def latest_path(node: str) -> str:
    """Return the path of the document with the last results of a node."""
    return f"latest/{hashlib.sha256(node.encode()).hexdigest()}"


def latest(remote: RemoteStore, node: str) -> list[tuple[Yields, str]]:
    """Return the last results of a node that were pushed, newest first."""
    with contextlib.suppress(StagewrightError, ValueError, TypeError):
        found = json.loads(read_document(remote.place, latest_path(node)))
        return [(Yields(yields), str(key)) for yields, key in found][:REMEMBERED]
    return []


def _known(remote: RemoteStore, node: str) -> dict[str, _Place]:
    """Return the chunks of the last results of a node, by name."""
    found: dict[str, _Place] = {}
    for yields, key in latest(remote, node):
        with contextlib.suppress(StagewrightError):  # it was removed, or other keys have signed it
            statement = remote.statement(yields, key)
            if statement is None:
                continue
            data = gzip.decompress(read_blob(remote.place, statement.parts["index"], LIST_LIMIT))
            for row in Index.parse(data, statement.packs, statement.size, remote.place.name).rows:
                found.setdefault(row.name, _Place(statement.packs[row.pack], row.start, row.length))
    return found


@dataclass
class _Push:
    remote: RemoteStore
    store: Store
    yields: Yields
    key: str
    folder: Path
    sent: int = 0
    done: int = 0

    def run(self, known: dict[str, _Place]) -> Pushed:
        """Push the result. ``known`` are chunks that the remote has."""
        result = self.store.folder(self.yields, self.key)
        meta = self.store.meta(self.yields, self.key)
        chunks = list(chunks_of(read_content(result / CONTENT, meta.content)))
        wanted: dict[str, int] = {}
        for number, chunk in enumerate(chunks):
            if chunk.name not in known:
                wanted.setdefault(chunk.name, number)
        self._check(known, chunks)
        places = {**known, **self._packs(result, meta.node, chunks, sorted(wanted.values()))}
        packs = list(dict.fromkeys(places[chunk.name].pack for chunk in chunks))
        numbers = {pack: number for number, pack in enumerate(packs)}
        rows = [self._row(chunk, places[chunk.name], numbers) for chunk in chunks]
        parts = {
            "meta": self._part("meta", (result / "meta.json").read_bytes()),
            "content": self._part("content", (result / CONTENT).read_bytes()),
            "index": self._part("index", gzip.compress(Index(packs, rows).data(), 6, mtime=0)),
        }
        records = self.store.records(self.yields, self.key)
        if records.exists():
            parts["records"] = self._part("records", records.read_bytes())
        size = sum(chunk.size for chunk in chunks)
        statement = Statement(
            self.yields, self.key, meta.node, meta.kind, meta.created, size, tuple(meta.stack), parts, tuple(packs)
        )
        self._check({name: place for name, place in known.items() if place.pack in numbers}, chunks)
        self._write(statement)
        return Pushed(self.sent, size)

    def _check(self, known: dict[str, _Place], chunks: Sequence[Chunk]) -> None:
        """Raise NOT_FOUND if a pack whose chunks are shared was removed."""
        for pack in {known[chunk.name].pack for chunk in chunks if chunk.name in known}:
            if not self.remote.exists(blob_path(pack.digest)):
                raise StagewrightError(Reason.NOT_FOUND, f"{self.remote.place.name}: {blob_path(pack.digest)}")

    @staticmethod
    def _row(chunk: Chunk, place: _Place, numbers: dict[Blob, int]) -> IndexRow:
        return IndexRow(chunk.name, numbers[place.pack], place.start, place.length, chunk.size)

    def _packs(self, result: Path, node: str, chunks: Sequence[Chunk], wanted: Sequence[int]) -> dict[str, _Place]:
        """Send the wanted chunks in packs, and return their places."""
        if not wanted:
            return {}
        listed = self.folder / "wanted.json"
        listed.write_text(json.dumps(ranges(wanted)), encoding="utf-8")
        total = sum(chunks[number].size for number in wanted)
        uploads = _Uploads(self)
        with uploads, sending(result, listed, self.yields) as process:
            assert process.stdout
            writer = _PackWriter(self.folder, uploads)
            for chunk, frame in _frames(process.stdout, [chunks[number] for number in wanted]):
                writer.add(chunk, frame)
                self._progress(node, chunk.size, total)
            writer.end()
        return writer.places()

    def _progress(self, node: str, size: int, total: int) -> None:
        before, self.done = self.done, self.done + size
        if before // _PAUSE // 16 != self.done // _PAUSE // 16:
            name = f"MiB to {self.remote.name}"
            self.remote.emit(NodeProgress(node=node, done=self.done >> 20, total=-(-total >> 20), name=name))

    def _part(self, name: str, data: bytes) -> Blob:
        path = self.folder / name
        path.write_bytes(data)
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        self.upload(blob, path)
        return blob

    def upload(self, blob: Blob, path: Path) -> None:
        """Upload a blob, unless it is there, and remove its file."""
        if not self.remote.exists(blob_path(blob.digest)):
            self.remote.put(blob, path)
            self.sent += blob.size
        path.unlink(missing_ok=True)

    def _write(self, statement: Statement) -> None:
        document = self.remote.policy.document(statement)
        self.remote.write(statement.path, document, statement.blobs)
        self.sent += len(document)
        others = [one for one in latest(self.remote, statement.node) if one != (self.yields, self.key)]
        listed = json.dumps([[self.yields.value, self.key], *others[: REMEMBERED - 1]]).encode()
        self.remote.write(latest_path(statement.node), listed)


def _frames(stream: IO[bytes], chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    """Yield chunks with their compressed content, which several threads compress."""
    compress = compressor()
    waiting: deque[tuple[Chunk, Future[bytes]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for chunk in chunks:
            data = stream.read(chunk.size)
            if len(data) != chunk.size:
                raise EOFError
            waiting.append((chunk, pool.submit(compress, data)))
            if len(waiting) > 4 * _THREADS:
                done, frame = waiting.popleft()
                yield done, frame.result()
        for done, frame in waiting:
            yield done, frame.result()


def compressor() -> Any:
    """Return a function that compresses bytes to one frame of zstd. Raises: MISSING_TOOL without its package."""
    try:
        import zstandard  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing_package("zstandard", EXTRA) from error
    threads = threading.local()

    def compress(data: bytes) -> bytes:
        if not hasattr(threads, "context"):
            threads.context = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        frame: bytes = threads.context.compress(data)
        return frame

    return compress


class _Uploads:
    """Uploads of packs by several threads. At most twice as many packs wait as there are connections."""

    def __init__(self, push_: _Push) -> None:
        self._push = push_
        self._pool = ThreadPoolExecutor(push_.remote.connections)
        self._waiting: deque[Future[None]] = deque()

    def add(self, blob: Blob, path: Path) -> None:
        """Upload a pack in the background."""
        self._waiting.append(self._pool.submit(self._push.upload, blob, path))
        while len(self._waiting) > 2 * self._push.remote.connections:
            self._waiting.popleft().result()

    def __enter__(self) -> _Uploads:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class _PackWriter:
    """Joins frames to packs."""

    folder: Path
    uploads: _Uploads
    _frames: list[bytes] = field(default_factory=list)
    _rows: list[tuple[str, int, int]] = field(default_factory=list)
    _size: int = 0
    _found: dict[str, _Place] = field(default_factory=dict)

    def add(self, chunk: Chunk, frame: bytes) -> None:
        """Add a chunk."""
        self._rows.append((chunk.name, self._size, len(frame)))
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > PACK:
            self.end()

    def end(self) -> None:
        """Write a pack, and upload it."""
        if not self._frames:
            return
        total = hashlib.sha256()
        path = self.folder / f"pack{len(self._found)}"
        with path.open("wb") as stream:
            for frame in self._frames:
                total.update(frame)
                stream.write(frame)
        blob = Blob(total.hexdigest(), self._size)
        for name, start, length in self._rows:
            self._found[name] = _Place(blob, start, length)
        self.uploads.add(blob, path)
        self._frames, self._rows, self._size = [], [], 0

    def places(self) -> dict[str, _Place]:
        """Return where the chunks are."""
        return self._found
