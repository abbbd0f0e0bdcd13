"""Chunks that a remote has already: those of the last results of a node, which a new result can share.

``latest/<digest of the node>`` names these results. The index of each says where its chunks are. For files that were
divided by their content, the part ``divided`` of its statement has the rows of their pieces: so the pieces of a file
that did not change are known without reading it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.remote.chunks import Chunk
from stagewright.remote.place import Blob, read_blob, read_document
from stagewright.remote.remote import RemoteStore
from stagewright.remote.statement import Index, Statement

LIST_LIMIT = 512 << 20
"""The largest list and index (bytes)."""

REMEMBERED = 3
"""Number of former results of a node whose chunks a new one can share."""

DIVIDED = "divided"
"""The part of a statement with the rows of files that were divided: ``{name of the chunk: [first row, number]}``."""


@dataclass(frozen=True)
class Located:
    """A chunk, or a piece of a divided one, in the remote: its name, where it is in a pack, its size uncompressed."""

    name: str
    pack: Blob
    start: int
    length: int
    size: int


@dataclass(frozen=True)
class SharedChunks:
    """Chunks and pieces of the last results of a node by name, and the pieces of divided chunks."""

    located: dict[str, Located] = field(default_factory=dict)
    divided: dict[str, Sequence[Located]] = field(default_factory=dict)

    def of(self, chunk: Chunk) -> Sequence[Located]:
        """Return where a chunk is; nothing if the remote does not have all of it."""
        if chunk.divided:
            found = self.divided.get(chunk.name, ())
        else:
            found = [self.located[chunk.name]] if chunk.name in self.located else ()
        return found if sum(one.size for one in found) == chunk.size else ()

    def add(self, remote: RemoteStore, statement: Statement) -> None:
        """Add what a result has. Raises the failure of the remote, or BAD_LISTING."""
        where = remote.place.name
        data = unpacked(read_blob(remote.place, statement.parts["index"], LIST_LIMIT), LIST_LIMIT)
        packs = statement.packs
        rows = [
            Located(row.name, packs[row.pack], row.start, row.length, row.size)
            for row in Index.parse(data, packs, statement.size, where).rows
        ]
        for row in rows:
            self.located.setdefault(row.name, row)
        if DIVIDED in statement.parts:
            text = unpacked(read_blob(remote.place, statement.parts[DIVIDED], LIST_LIMIT), LIST_LIMIT)
            for name, (first, count) in _pairs(text, len(rows), where).items():
                self.divided.setdefault(name, rows[first : first + count])


def divided_data(numbers: Mapping[str, tuple[int, int]]) -> bytes:
    """Return the part ``divided`` of a statement."""
    return gzip.compress(json.dumps(numbers).encode(), 6, mtime=0)


def _pairs(text: bytes, count: int, where: str) -> Mapping[str, tuple[int, int]]:
    try:
        found = {str(name): (int(first), int(number)) for name, (first, number) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StagewrightError(Reason.BAD_LISTING, f"{where}: invalid list of divided files ({error})") from error
    if any(first < 0 or number < 0 or first + number > count for first, number in found.values()):
        raise StagewrightError(Reason.BAD_LISTING, f"{where}: invalid list of divided files")
    return found


def latest_path(node: str) -> str:
    """Return the path of the document with the last results of a node."""
    return f"latest/{hashlib.sha256(node.encode()).hexdigest()}"


def latest(remote: RemoteStore, node: str) -> list[tuple[Yields, str]]:
    """Return the last results of a node that were pushed, newest first."""
    with contextlib.suppress(StagewrightError, ValueError, TypeError):
        found: Any = json.loads(read_document(remote.place, latest_path(node)))
        return [(Yields(yields), str(key)) for yields, key in found][:REMEMBERED]
    return []


def shared_chunks(remote: RemoteStore, node: str) -> SharedChunks:
    """Return the chunks of the last results of a node."""
    found = SharedChunks()
    for yields, key in latest(remote, node):
        with contextlib.suppress(StagewrightError):  # it was removed, or other keys have signed it
            if statement := remote.statement(yields, key):
                found.add(remote, statement)
    return found


def unpacked(data: bytes, limit: int) -> bytes:
    """Return gzipped data. Raises: BAD_LISTING if it is damaged, or above the limit."""
    try:
        unpacker = zlib.decompressobj(wbits=31)
        found = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise StagewrightError(Reason.BAD_LISTING, f"damaged ({error})") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise StagewrightError(Reason.BAD_LISTING, f"damaged, or more than {limit} bytes")
    return found
