"""Unified kernel images: kernel, initramfs and command line as one EFI program (uapi-group.org, unified_kernel_image).

They become sections behind those of systemd's stub, which comes from the environment. Stagewright writes the sections
itself, because objcopy(1) of a host only supports programs of the host's architecture
(docs/decisions/027-sections-written-here.md).
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass

_SECTION = struct.Struct("<8sIIIIIIHHI")  # PE format, section table
_READ_DATA = 0x40000040  # IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ
_CERTIFICATES = 4  # index of the certificate table among the data directories
_CHECKSUM = 64  # offset of the checksum in the optional header
_PAGE = 4096
_PIECE = 1 << 20  # bytes, an even number


@dataclass(frozen=True)
class UkiParts:
    """The parts of a unified kernel image.

    ``arguments`` is the kernel's command line, ``os_release`` the text of os-release(5), ``version`` the kernel's.
    """

    stub: Path
    kernel: Path
    initramfs: Path
    arguments: str
    os_release: str
    version: str


def make_uki(parts: UkiParts, target: Path, epoch: int) -> None:
    """Write the image to ``target``, with ``epoch`` as its time in seconds since 1970.

    Raises ``ENVIRONMENT_LACKS`` if the stub is not an EFI program or has no room for more sections.
    """
    data = parts.stub.read_bytes()
    stub = EfiStub.of(data, parts.stub.name)
    sections: dict[str, Path | bytes] = {
        ".osrel": parts.os_release.encode(),
        ".cmdline": f"{parts.arguments}\0".encode(),
        ".uname": parts.version.encode(),
        ".initrd": parts.initramfs,
        ".linux": parts.kernel,
    }
    table = []
    address, offset = _up(stub.address, max(stub.alignment, _PAGE)), _up(stub.end, stub.file_alignment)
    for name, content in sections.items():
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        packed = _up(size, stub.file_alignment)
        table.append(_SECTION.pack(name.encode(), size, address, packed, offset, 0, 0, 0, 0, _READ_DATA))
        address, offset = address + _up(size, max(stub.alignment, _PAGE)), offset + packed
    with target.open("wb") as stream:
        stream.write(stub.with_sections(data, table, address, epoch))
        for content in sections.values():
            _fill_up(stream, stub.file_alignment)
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, stream)
            else:
                stream.write(content)
        _fill_up(stream, stub.file_alignment)
    with target.open("r+b") as stream:
        checksum = _checksum(stream)
        stream.seek(stub.header + 24 + _CHECKSUM)
        stream.write(struct.pack("<I", checksum))
    os.utime(target, (epoch, epoch))


def append_argument(kernel: Path, argument: str) -> None:
    """Append an argument to the command line of a unified kernel image that is not signed.

    Its section has room up to the file alignment. Raises: BUILD_FAILED if it has too little, BAD_ARCHIVE for a file
    that is not a unified kernel image.
    """
    data = bytearray(kernel.read_bytes())
    try:
        (found,) = (one for one in _Header.of(data).sections if one.name.rstrip(b"\0") == b".cmdline")
    except ValueError as error:
        raise StagewrightError(Reason.BAD_ARCHIVE, f"{kernel.name}: not a unified kernel image") from error
    text = bytes(data[found.offset : found.offset + found.size]).rstrip(b"\0") + f" {argument}\0".encode()
    if len(text) > found.packed:
        what = f"{kernel.name}: no room for {argument!r} in its command line"
        raise StagewrightError(Reason.BUILD_FAILED, what, hint="shorten the kernel arguments of the image")
    data[found.offset : found.offset + found.packed] = text.ljust(found.packed, b"\0")
    struct.pack_into("<I", data, found.entry + 8, len(text))
    kernel.write_bytes(data)


@dataclass(frozen=True)
class EfiStub:
    """An EFI program that sections can be added to.

    ``header`` and ``table`` are the offsets of the PE header and of the end of the section table. ``sections`` is the
    number of sections, ``room`` the number of sections that can be added. ``address`` is the first free address in
    memory, ``end`` the first free byte of the file. Symbols behind ``end`` are removed: signatures require that there
    is nothing between sections.
    """

    name: str
    header: int
    sections: int
    table: int
    room: int
    address: int
    end: int
    alignment: int
    file_alignment: int

    @classmethod
    def of(cls, data: bytes, name: str) -> EfiStub:
        """Read the header of a program. Raises ``ENVIRONMENT_LACKS`` if it is not an EFI program."""
        try:
            program = _Header.of(data)
        except ValueError as error:
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{name}: not an EFI program, so it cannot be the stub of a unified kernel image",
                hint="reinstall the package of systemd's EFI stub in the payload's environment",
            ) from error
        found = program.sections
        behind = found[-1].entry + _SECTION.size
        room = (min(one.offset for one in found) - behind) // _SECTION.size
        address = max(one.address + one.size for one in found)
        end = max(one.offset + one.packed for one in found)
        alignments = (program.alignment, program.file_alignment)
        return cls(name, program.offset, len(found), behind, room, address, end, *alignments)

    def with_sections(self, data: bytes, sections: Sequence[bytes], size: int, epoch: int) -> bytes:
        """Return the program with these entries added to its section table; ``size`` is its size in memory, in bytes.

        Clears the symbol table, the certificate table and the checksum, which UEFI ignores. Raises
        ``ENVIRONMENT_LACKS`` if the header has no room for the entries.
        """
        if len(sections) > self.room:
            message = f"{self.name}: its header has room for {self.room} more sections ({len(sections)} needed)"
            hint = "use the stub of another version of systemd"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)
        made = bytearray(data[: self.end])
        made[self.table : self.table + _SECTION.size * len(sections)] = b"".join(sections)
        struct.pack_into("<H", made, self.header + 6, self.sections + len(sections))
        struct.pack_into("<III", made, self.header + 8, epoch & 0xFFFFFFFF, 0, 0)  # time; no symbol table
        optional = self.header + 24
        struct.pack_into("<I", made, optional + 56, size)  # SizeOfImage
        struct.pack_into("<I", made, optional + _CHECKSUM, 0)
        (directories,) = struct.unpack_from("<I", made, optional + 108)
        if directories > _CERTIFICATES:
            struct.pack_into("<II", made, optional + 112 + 8 * _CERTIFICATES, 0, 0)
        return bytes(made)


class _Section(NamedTuple):
    """A section of an EFI program: its sizes and places in memory and in the file; ``entry`` is that in the table."""

    name: bytes
    size: int
    address: int
    packed: int
    offset: int
    entry: int

    @classmethod
    def of(cls, data: bytes | bytearray, entry: int) -> _Section:
        """Read an entry of the section table."""
        name, size, address, packed, offset, *_ = _SECTION.unpack_from(data, entry)
        return cls(name, size, address, packed, offset, entry)


class _Header(NamedTuple):
    """The header of an EFI program: its offset, alignments in memory and in the file, and the section table."""

    offset: int
    alignment: int
    file_alignment: int
    sections: Sequence[_Section]

    @classmethod
    def of(cls, data: bytes | bytearray) -> _Header:
        """Read the header of a program for 64 bits. Raises ``ValueError`` if the data is not one."""
        try:
            (header,) = struct.unpack_from("<I", data, 0x3C)  # PE format, MS-DOS stub
            magic, count, optional = struct.unpack_from("<4s2xH12xH", data, header)
            kind, alignment, file_alignment = struct.unpack_from("<H30xII", data, header + 24)
            if magic != b"PE\0\0" or kind != 0x20B or not count or not alignment or not file_alignment:
                raise ValueError(magic)
            table = range(header + 24 + optional, header + 24 + optional + count * _SECTION.size, _SECTION.size)
            sections = [_Section.of(data, entry) for entry in table]
        except struct.error as error:
            raise ValueError(str(error)) from error
        return cls(header, alignment, file_alignment, sections)


def _checksum(stream: BinaryIO) -> int:
    """Return the checksum of an EFI program whose own is 0 (ImageHlp, CheckSumMappedFile).

    It is the sum of all 16-bit words with the carry added, which is the file as one number modulo 65535, and the size.
    """
    total = 0
    while piece := stream.read(_PIECE):
        total += int.from_bytes(piece, "little") % 0xFFFF
    return (total % 0xFFFF or 0xFFFF) + stream.tell()


def _up(number: int, step: int) -> int:
    """Round up to a multiple of ``step``."""
    return -(-number // step) * step


def _fill_up(stream: BinaryIO, step: int) -> None:
    stream.write(bytes(-stream.tell() % step))
