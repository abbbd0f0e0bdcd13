"""Formats of disk images, made of a raw image by qemu-img(1), with identifiers that do not change.

qemu-img writes random identifiers and the time into three of them (measured with version 7.2, by comparing two images
of one disk). They are replaced by identifiers of the image's name and by the time stamp:

=====  ==========================================================================================
vmdk   ``CID`` in the descriptor (eight hexadecimal digits)
vhd    time, UUID and checksum of the footer and of its copy in front (Virtual Hard Disk Format, Footer)
vdi    UUIDs of the image and of its last snapshot
=====  ==========================================================================================
"""

from __future__ import annotations

import enum
import struct
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.contents import identifier
from stagewright.run import run

if TYPE_CHECKING:
    from stagewright.media.disk.ova import Appliance


class Format(enum.StrEnum):
    """The format of an image."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VMDK = "vmdk"
    VHD = "vhd"
    VDI = "vdi"
    OVA = "ova"

    @property
    def suffix(self) -> str:
        """The suffix of file names."""
        return "img" if self is Format.RAW else self.value

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `qemu-img convert`."""
        return {
            Format.QCOW2: ("-c", "-O", "qcow2", "-o", "compression_type=zstd"),
            Format.VMDK: ("-O", "vmdk", "-o", "subformat=streamOptimized"),
            Format.OVA: ("-O", "vmdk", "-o", "subformat=streamOptimized"),
            Format.VHD: ("-O", "vpc", "-o", "subformat=dynamic,force_size=on"),
            Format.VDI: ("-O", "vdi"),
        }[self]


def convert(kind: Format, raw: Path, target: Path, appliance: Appliance, epoch: int, log: IO[str]) -> None:
    """Write a raw image in another format, and remove it. ``appliance`` describes the machine of an OVA."""
    made = raw.with_name(f"{target.stem}-disk1.vmdk") if kind is Format.OVA else target
    run(["qemu-img", "convert", "-f", "raw", *kind.options, raw, made], log=log)
    if kind in _CONSTANT:
        with made.open("r+b") as stream:
            _CONSTANT[kind](stream, target.name, epoch)
    if kind is Format.OVA:
        from stagewright.media.disk.ova import write_ova  # noqa: PLC0415  needs tarfile, and few images are of this format

        write_ova(appliance, made, raw.stat().st_size, target, epoch)
        made.unlink()
    raw.unlink()


def _vmdk(stream: BinaryIO, name: str, epoch: int) -> None:
    """Set the identifier of the content, which QEMU draws by lot: it has up to eight digits, without leading zeros."""
    start, size, digits = 512, 20 * 512, 8  # of the descriptor, which zeros fill up
    stream.seek(start)
    text = stream.read(size).partition(b"\0")[0]
    at = _find(text, b"\nCID=") + len(b"\nCID=")
    end = at + _find(text[at:], b"\n")
    made = text[:at] + identifier(name, "vmdk")[:digits].encode() + text[end:]
    stream.seek(start)
    stream.write(made.ljust(len(text), b"\0"))


def _vhd(stream: BinaryIO, name: str, epoch: int) -> None:
    size, since = 512, 946684800  # of the footer; the time is in seconds since 2000
    stream.seek(-size, 2)
    footer = bytearray(stream.read(size))
    _find(bytes(footer), b"conectix")
    struct.pack_into(">I", footer, 24, max(0, epoch - since))
    footer[68:84] = uuid.UUID(identifier(name, "vhd")).bytes
    struct.pack_into(">I", footer, 64, 0)
    struct.pack_into(">I", footer, 64, ~sum(footer) & 0xFFFFFFFF)
    stream.seek(-size, 2)
    stream.write(footer)
    stream.seek(0)
    stream.write(footer)


def _vdi(stream: BinaryIO, name: str, epoch: int) -> None:
    stream.seek(0)
    _find(stream.read(64), b"VM Virtual Disk Image")
    stream.seek(0x188)
    stream.write(uuid.UUID(identifier(name, "vdi")).bytes_le + uuid.UUID(identifier(name, "vdi snapshot")).bytes_le)


def _find(data: bytes, words: bytes) -> int:
    at = data.find(words)
    if at < 0:
        message = "qemu-img: the image has another structure than that of known versions"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="use format qcow2 or raw")
    return at


_CONSTANT: Mapping[Format, Callable[[BinaryIO, str, int], None]] = {
    Format.VMDK: _vmdk,
    Format.OVA: _vmdk,
    Format.VHD: _vhd,
    Format.VDI: _vdi,
}
