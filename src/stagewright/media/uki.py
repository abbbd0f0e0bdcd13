"""Unified kernel images: kernel, initramfs and command line as one EFI program (uapi-group.org, unified_kernel_image).

systemd's stub from the environment gets them as sections, by objcopy(1); ukify(1) is not on every host.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.run import run

_PE = 0x3C  # where an EFI program says at which offset its header begins (PE format, MS-DOS stub)
_SECTION = 40  # bytes of a section's header


@dataclass(frozen=True)
class Parts:
    """What a unified kernel image is made of."""

    stub: Path
    kernel: Path
    initramfs: Path
    arguments: str
    os_release: str
    version: str


def make_uki(parts: Parts, target: Path, work: Path, epoch: int, log: IO[str]) -> None:
    """Write the image to ``target``; ``work`` is an empty folder for the texts that go in."""
    address, alignment = free_address(parts.stub)
    texts = {"osrel": parts.os_release, "cmdline": f"{parts.arguments}\0", "uname": parts.version}
    sections: dict[str, Path] = {}
    for name, text in texts.items():
        sections[name] = work / name
        sections[name].write_text(text)
    words = ["objcopy"]
    for name, path in {**sections, "initrd": parts.initramfs, "linux": parts.kernel}.items():
        words += ["--add-section", f".{name}={path}", "--change-section-vma", f".{name}={address:#x}"]
        address += -(-path.stat().st_size // alignment) * alignment
    run([*words, parts.stub, target], log=log)
    _settle(target, epoch)


def _settle(program: Path, epoch: int) -> None:
    """Take the present time out of an EFI program: objcopy writes it, and sums it into a checksum that UEFI ignores."""
    with program.open("r+b") as stream:
        stream.seek(_PE)
        (header,) = struct.unpack("<I", stream.read(4))
        for offset, value in ((8, epoch), (24 + 64, 0)):  # TimeDateStamp, CheckSum
            stream.seek(header + offset)
            stream.write(struct.pack("<I", value))


def free_address(program: Path) -> tuple[int, int]:
    """The first free address behind the sections of an EFI program, and the alignment of sections."""
    data = program.read_bytes()
    try:
        (header,) = struct.unpack_from("<I", data, _PE)
        magic, sections, optional = struct.unpack_from("<4s2xH12xH", data, header)
        if magic != b"PE\0\0":
            raise ValueError(magic)
        base, alignment = struct.unpack_from("<QI", data, header + 24 + 24)
        table = header + 24 + optional
        ends = [sum(struct.unpack_from("<II", data, table + _SECTION * number + 8)) for number in range(sections)]
        return base + -(-max(ends) // alignment) * alignment, alignment
    except (struct.error, ValueError, ZeroDivisionError) as error:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"{program.name} is no EFI program, so no unified kernel image can be made of it",
            hint="see the package of systemd's EFI stub in the payload's environment",
        ) from error
