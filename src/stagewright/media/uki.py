"""Unified kernel images: kernel, initramfs and command line as one EFI program (uapi-group.org, unified_kernel_image).

systemd's stub from the environment gets them as sections behind its own. They are written here, since a host's
objcopy(1) knows the programs of its own architecture alone (docs/decisions/027-sections-written-here.md).
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stagewright.errors import Reason, StagewrightError

_SECTION = struct.Struct("<8sIIIIIIHHI")  # PE format, section table
_READ_DATA = 0x40000040  # IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ
_CERTIFICATES = 4  # which data directory tells of signatures
_PAGE = 4096


@dataclass(frozen=True)
class Parts:
    """What a unified kernel image is made of."""

    stub: Path
    kernel: Path
    initramfs: Path
    arguments: str
    os_release: str
    version: str


def make_uki(parts: Parts, target: Path, epoch: int) -> None:
    """Write the image to ``target``. Raises ``ENVIRONMENT_LACKS`` for a stub that is none, or has no room left."""
    data = parts.stub.read_bytes()
    stub = Stub.of(data, parts.stub.name)
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


@dataclass(frozen=True)
class Stub:
    """An EFI program that sections can be added to.

    ``header`` and ``table`` are offsets of the PE header and of the end of the section table, ``sections`` how many
    there are, ``room`` how many more the file has room for. ``address`` is the first free one when it is loaded,
    ``end`` the first free byte of the file; behind it are symbols, which signatures do not expect between sections.
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
    def of(cls, data: bytes, name: str) -> Stub:
        """Read the header of a program. Raises ``ENVIRONMENT_LACKS`` for what is none."""
        try:
            (header,) = struct.unpack_from("<I", data, 0x3C)  # PE format, MS-DOS stub
            magic, count, optional = struct.unpack_from("<4s2xH12xH", data, header)
            kind, alignment, file_alignment = struct.unpack_from("<H30xII", data, header + 24)
            if magic != b"PE\0\0" or kind != 0x20B or not count or not alignment or not file_alignment:
                raise ValueError(magic)
            table = header + 24 + optional
            found = [_SECTION.unpack_from(data, table + _SECTION.size * number) for number in range(count)]
        except (struct.error, ValueError) as error:
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{name} is no EFI program, so no unified kernel image can be made of it",
                hint="see the package of systemd's EFI stub in the payload's environment",
            ) from error
        behind = table + _SECTION.size * count
        room = (min(offset for *_, offset, _, _, _, _, _ in found) - behind) // _SECTION.size
        address = max(start + size for _, size, start, *_ in found)
        end = max(offset + size for _, _, _, size, offset, *_ in found)
        return cls(name, header, count, behind, room, address, end, alignment, file_alignment)

    def with_sections(self, data: bytes, sections: Sequence[bytes], size: int, epoch: int) -> bytes:
        """The program with more lines in its section table; ``size`` is what all takes when it is loaded.

        Nothing tells of symbols and signatures afterwards; the checksum, which UEFI does not look at, is none.
        Raises ``ENVIRONMENT_LACKS`` where there is no room for that many.
        """
        if len(sections) > self.room:
            message = f"the header of {self.name} has room for {self.room} more sections, not for {len(sections)}"
            hint = "take the stub of another version of systemd"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)
        made = bytearray(data[: self.end])
        made[self.table : self.table + _SECTION.size * len(sections)] = b"".join(sections)
        struct.pack_into("<H", made, self.header + 6, self.sections + len(sections))
        struct.pack_into("<III", made, self.header + 8, epoch & 0xFFFFFFFF, 0, 0)  # time; symbols: none
        optional = self.header + 24
        struct.pack_into("<I", made, optional + 56, size)  # SizeOfImage
        struct.pack_into("<I", made, optional + 64, 0)  # CheckSum
        (directories,) = struct.unpack_from("<I", made, optional + 108)
        if directories > _CERTIFICATES:
            struct.pack_into("<II", made, optional + 112 + 8 * _CERTIFICATES, 0, 0)
        return bytes(made)


def _up(number: int, step: int) -> int:
    """The next multiple of a number."""
    return -(-number // step) * step


def _fill_up(stream: BinaryIO, step: int) -> None:
    stream.write(bytes(-stream.tell() % step))
