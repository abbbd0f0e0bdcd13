"""Chunks: the pieces in which the contents of a result's files travel.

The list of a result (store/content.py) has everything about its files except their bytes. So a remote has the list,
and a stream of these bytes: the contents of all regular files in the order of the list, each hard link once. The stream
is cut into chunks:

- Consecutive files of up to :data:`LARGE` bytes form a group. A group ends by its size and by the digest of its last
  file, so groups after a changed file are the same as before.
- A larger file is a chunk.
- A file above :data:`WHOLE` bytes is a chunk that is divided by its content when it is sent (remote/pieces.py).

The name of a chunk is made of the digests of its files. So a program that has two lists knows which chunks differ,
without reading a file (docs/decisions/055-chunks-of-a-remote.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stagewright.store.content import Entry

LARGE = 64 << 10
"""Files above this size (bytes) are separate chunks."""

LEAST = 16 << 10
"""A group may end when it has this size (bytes); one above :data:`LARGE` ends."""

WHOLE = 1 << 20
"""Files above this size (bytes) are divided by their content."""

_ENDS = "01234567"
"""First digits of the digest of a file that ends a group: one of two."""


@dataclass(frozen=True)
class Chunk:
    """One chunk: its name (64 hexadecimal digits), its size in bytes, and if it is divided by its content."""

    name: str
    size: int
    divided: bool = False


def has_body(entry: Entry) -> bool:
    """Return True if the stream has the content of an entry."""
    return entry.type == "file" and not entry.is_again and entry.size > 0


def chunks_of(entries: Iterable[Entry]) -> Iterator[Chunk]:
    """Yield the chunks of a list, in the order of the stream."""
    digests: list[str] = []
    size = 0
    for entry in entries:
        if not has_body(entry):
            continue
        if entry.size > LARGE:
            if digests:
                yield _group(digests, size)
                digests, size = [], 0
            yield _file(entry)
            continue
        digests.append(f"{entry.content}:{entry.size}")
        size += entry.size
        if size > LARGE or (size >= LEAST and entry.content[:1] in _ENDS):
            yield _group(digests, size)
            digests, size = [], 0
    if digests:
        yield _group(digests, size)


def _group(digests: list[str], size: int) -> Chunk:
    return Chunk(hashlib.sha256(("group\n" + "\n".join(digests)).encode()).hexdigest(), size)


def _file(entry: Entry) -> Chunk:
    if entry.size > WHOLE:
        return Chunk(hashlib.sha256(f"file\n{entry.content}".encode()).hexdigest(), entry.size, divided=True)
    return Chunk(hashlib.sha256(f"piece\n{entry.content}\n0".encode()).hexdigest(), entry.size)
