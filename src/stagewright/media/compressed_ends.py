"""The ends of compressed archives in an initramfs, and bytes that make one longer without a change.

The kernel accepts another archive behind a compressed one, but only at an offset that is a multiple of four bytes
(init/initramfs.c; measured). Programs decompress the longer archives to the same content as before.

=====  ===========================================================================
zstd   empty blocks before the last block (RFC 8878, 3.1.1.2)
lz4    empty blocks at the end (legacy frames, lz4_Frame_format.md)
gzip   a name in the header (RFC 1952, 2.3), which the kernel skips
=====  ===========================================================================

Zeros in front of an archive do the same for every format if another archive, such as microcode, comes first. Sizes of
xz files are multiples of four bytes. bzip2 and the kernel skip zeros at the end. lzma and lzop have no place for more
bytes. Behind an archive of lz4 the kernel also needs four zeros (since Linux 5.9), which lz4(1) rejects.
"""

from __future__ import annotations

import os
import struct
from typing import IO

from stagewright.lazy_dataclass import dataclass

ALIGNMENT = 4

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = (0x184D2A50, 0x184D2A5F)
_LZ4 = 0x184C2102
_GZIP_HEADER = 10
_GZIP_NAME = 0x08  # FNAME, the only optional field that the kernel skips


@dataclass(frozen=True)
class Change:
    """Bytes that replace others in a file, from the offset ``start`` to ``end``."""

    start: int
    end: int
    data: bytes


@dataclass(frozen=True)
class Ending:
    """The end of a compressed archive: the offset behind it, and the offset at which empty blocks can be inserted."""

    end: int
    room: int


def ending(stream: IO[bytes], start: int, compressor: str) -> Ending | None:
    """Return the end of the archive that starts at an offset; None for broken data and for formats without blocks."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    try:
        if compressor == "zstd":
            return _zstd(stream, size)
        return _lz4(stream, size) if compressor == "lz4" else None
    except struct.error:
        return None


def lengthening(stream: IO[bytes], start: int, compressor: str) -> Change | None:
    """Return the change that makes the size of a file a multiple of four bytes; None if none is needed or possible.

    ``start`` is the offset of the compressed archive, which is the last one in the file.
    """
    missing = -stream.seek(0, os.SEEK_END) % ALIGNMENT
    if not missing:
        return None
    if start:  # zeros between two archives change neither of them
        return Change(start, start, bytes(missing))
    if compressor == "gzip":
        return _named(stream, start, missing)
    found = ending(stream, start, compressor)
    if not found:
        return None
    # A block of zstd has 3 bytes, so 4 - missing of them end at a multiple of four. A block of lz4 has 5 bytes.
    blocks = bytes(3 * (ALIGNMENT - missing)) if compressor == "zstd" else _EMPTY_LZ4 * missing
    return Change(found.room, found.room, blocks)


_EMPTY_LZ4 = struct.pack("<IB", 1, 0)  # one byte: a token without literals


def _named(stream: IO[bytes], start: int, missing: int) -> Change | None:
    stream.seek(start)
    header = stream.read(_GZIP_HEADER)
    if len(header) < _GZIP_HEADER or header[3] & ~_GZIP_NAME:
        return None
    behind = start + _GZIP_HEADER
    if header[3]:
        return Change(behind, behind, b"_" * missing)
    return Change(start + 3, behind, bytes([_GZIP_NAME]) + header[4:] + b"_" * (missing - 1) + b"\0")


def _zstd(stream: IO[bytes], size: int) -> Ending | None:
    """Read the headers of all frames and blocks of zstd from the position of the stream."""
    found: Ending | None = None
    while (magic := stream.read(4)) and len(magic) == 4:
        if magic == _ZSTD:
            room = _zstd_frame(stream, size)
        elif _ZSTD_SKIPPABLE[0] <= struct.unpack("<I", magic)[0] <= _ZSTD_SKIPPABLE[1]:
            room = stream.tell() - 4
            stream.seek(*_skip(struct.unpack("<I", stream.read(4))[0]))
        else:
            break
        if room is None or stream.tell() > size:
            return None
        found = Ending(stream.tell(), room)
    return found


def _zstd_frame(stream: IO[bytes], size: int) -> int | None:
    """Read a frame behind its magic number. Return the offset of its last block, or None if it is broken."""
    (descriptor,) = struct.unpack("<B", stream.read(1))
    is_single = bool(descriptor & 0x20)
    content = (int(is_single), 2, 4, 8)[descriptor >> 6]
    stream.seek(*_skip((not is_single) + (0, 1, 2, 4)[descriptor & 3] + content))
    while (room := stream.tell()) < size:
        first, rest = struct.unpack("<BH", stream.read(3))
        kind, length = first >> 1 & 3, rest << 5 | first >> 3
        stream.seek(*_skip(1 if kind == 1 else length))
        if first & 1:
            stream.seek(*_skip(4 if descriptor & 4 else 0))
            return room
    return None


def _lz4(stream: IO[bytes], size: int) -> Ending | None:
    """Read the headers of all blocks of a legacy frame of lz4 from the position of the stream."""
    if struct.unpack("<I", stream.read(4))[0] != _LZ4:
        return None
    while (place := stream.tell()) + 4 <= size:
        (length,) = struct.unpack("<I", stream.read(4))
        if length == _LZ4:
            continue
        if not length or place + 4 + length > size:
            stream.seek(place)
            break
        stream.seek(*_skip(length))
    return Ending(stream.tell(), stream.tell())


def _skip(length: int) -> tuple[int, int]:
    return length, os.SEEK_CUR
