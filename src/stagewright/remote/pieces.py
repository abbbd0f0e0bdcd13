"""Pieces of a large file, cut where its content says so (FastCDC).

A file in which some bytes changed, came or went has the same pieces before and after them. So a second version of a
raw disk image or an archive sends only the pieces around its changes. The name of a piece is the digest of its bytes.

Where the package pyfastcdc has no compiled code, pieces have a fixed size. They are the same only before the first byte
that came or went.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import IO, Any

LEAST, AVERAGE, MOST = 64 << 10, 256 << 10, 1 << 20
"""The least, usual and largest size of a piece (bytes). The last one may be smaller."""


_WINDOW = 8 << 20
"""Bytes in which the ends of pieces are looked for at once."""


def pieces_of(stream: IO[bytes], size: int) -> Iterator[memoryview]:
    """Yield the pieces of the next bytes of a stream. Raises EOFError if it ends too early."""
    rest: bytes | memoryview = b""
    while size:
        data = stream.read(min(size, _WINDOW))
        if not data:
            raise EOFError
        size -= len(data)
        view = memoryview(b"".join((rest, data)) if rest else data)
        rest = view
        for piece in _cut(view):
            # the end of a piece depends on no more than MOST bytes from its start on
            if size and len(rest) < MOST:
                break
            yield piece
            rest = rest[len(piece) :]


def _cut(data: memoryview) -> Iterator[memoryview]:
    """Yield the pieces of some bytes. None of them is copied."""
    found = _cutter_class()
    if found:
        yield from (piece.data for piece in found(AVERAGE, min_size=LEAST, max_size=MOST).cut_buf(data))
    else:
        yield from (data[start : start + MOST] for start in range(0, len(data), MOST))


@functools.cache
def _cutter_class() -> Any:
    """Return the class that finds the ends of pieces; None if it is not installed, or not compiled (and slow)."""
    try:
        from pyfastcdc.cy import FastCDC  # noqa: PLC0415  optional
    except ImportError:
        return None
    return FastCDC
