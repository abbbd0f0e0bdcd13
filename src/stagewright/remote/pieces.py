"""Pieces of a large file, cut where its content says so (FastCDC).

A file in which some bytes changed, came or went has the same pieces before and after them. So a second version of a
raw disk image or an archive sends only the pieces around its changes. The name of a piece is the digest of its bytes.

Where the package pyfastcdc has no compiled code, pieces have a fixed size. They are the same only before the first byte
that came or went.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

LEAST, AVERAGE, MOST = 64 << 10, 256 << 10, 1 << 20
"""The least, usual and largest size of a piece (bytes). The last one may be smaller."""


def pieces_of(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield the pieces of the next bytes of a stream. Raises EOFError if it ends too early."""
    part = _Part(stream, size)
    cutter = _cutter()
    if cutter:
        for piece in cutter.cut_stream(part):
            yield bytes(piece.data)
    while part.left:
        yield part.read(MOST)


@functools.cache
def _cutter_class() -> Any:
    """Return the class that finds the ends of pieces; None if it is not installed, or not compiled (and slow)."""
    try:
        from pyfastcdc.cy import FastCDC  # noqa: PLC0415  optional
    except ImportError:
        return None
    return FastCDC


def _cutter() -> Any:
    found = _cutter_class()
    return found(AVERAGE, min_size=LEAST, max_size=MOST) if found else None


@dataclass
class _Part:
    """The next bytes of a stream, as a stream."""

    stream: IO[bytes]
    left: int

    def read(self, size: int) -> bytes:
        """Return up to so many bytes; none at the end of the part."""
        data = self.stream.read(min(size, self.left))
        if self.left and not data:
            raise EOFError
        self.left -= len(data)
        return data
