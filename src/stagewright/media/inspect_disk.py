"""Inspection of disk images of any origin: partitions, and the boot loaders and menus on their boot partitions.

qemu-img(1) reads other formats than raw, and mtools(1) the file systems: nothing is mounted. An image can name other
files of this computer as its base; the sandbox shows the programs no file but the image.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.digest_checks import checks_next_to
from stagewright.media.disk.partition_table import SECTOR
from stagewright.media.disk.read_table import ESP, EXTENDED_BOOT, FoundPartition, FoundTable, read_table
from stagewright.media.inspect import (
    BootPath,
    InspectedMedium,
    copy_from_fat,
    found_entries,
    found_loaders,
    sizes_below,
    uefi_programs,
)
from stagewright.media.menus import arguments_of, missing_files
from stagewright.root.sandbox import run_host_program
from stagewright.untrusted import open_regular

_FORMATS = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"vhdxfile": "vhdx", b"conectix": "vpc"}
_FORMATS |= {b"<<< Oracle VM VirtualBox Disk Image": "vdi", b"<<< QEMU VM Virtual Disk Image": "vdi"}
"""QEMU's names of formats, by the first bytes of a file."""

_LARGEST_BOOT = 4 << 30
"""The largest boot partition that is copied out of an image (bytes)."""


def is_disk(path: Path) -> bool:
    """Return True if a file has the first bytes of a disk image, and is no ISO."""
    try:
        with open_regular(path) as stream:
            head = stream.read(SECTOR)
            stream.seek(16 * 2048)
            is_iso = stream.read(6) == b"\x01CD001"
    except OSError:
        return False
    return not is_iso and (_format(head) != "raw" or head[510:] == b"\x55\xaa")


def inspect_disk(path: Path, work: Path) -> InspectedMedium:
    """Inspect a disk image. ``work`` is an empty folder for copies of its files.

    Raises ``BAD_ARCHIVE`` if it cannot be read, or has no partition table.
    """
    with open_regular(path) as stream:
        disk = _Disk(path, _format(stream.read(SECTOR)), work)
    table = read_table(disk.read, disk.size)
    if table is None:
        hint = "name an image with a partition table"
        raise StagewrightError(Reason.BAD_ARCHIVE, f"{path}: a disk without a partition table", hint=hint)
    tree = work / "boot"
    tree.mkdir()
    for one in table.partitions:
        if one.type in (ESP, EXTENDED_BOOT) and 0 < one.size <= _LARGEST_BOOT and one.end <= disk.size:
            disk.copy_files(one, tree)
    files = sizes_below(tree)
    entries = list(found_entries(tree, files))
    return InspectedMedium(
        path=path,
        kind="disk",
        size=disk.size,
        esp=files,
        ways=tuple(_ways(table, files)),
        loaders=tuple(found_loaders({}, files, entries)),
        entries=tuple(replace(entry, traps=tuple(_problems(entry, table, files))) for entry in dict.fromkeys(entries)),
        checks=tuple(checks_next_to(path)),
        partitions=table.partitions,
        faults=table.problems,
    )


def _format(head: bytes) -> str:
    return next((name for magic, name in _FORMATS.items() if head.startswith(magic)), "raw")


@dataclass(frozen=True)
class _Disk:
    """A disk image in a format of QEMU."""

    path: Path
    format: str
    work: Path

    @functools.cached_property
    def size(self) -> int:
        """The size of the disk in bytes."""
        if self.format == "raw":
            return self.path.stat().st_size
        return int(
            json.loads(self._qemu_img("info", "--output=json", "-f", self.format, self.path.absolute()))["virtual-size"]
        )

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the disk; fewer at its end."""
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        is_raw = self.format == "raw"
        with open_regular(self.path if is_raw else self._part(offset, size)) as stream:
            stream.seek(offset if is_raw else 0)
            return stream.read(size)

    def copy_files(self, one: FoundPartition, target: Path) -> None:
        """Copy all files of a FAT file system into a folder."""
        if self.format == "raw":
            copy_from_fat(self.path, one.start, target)
        else:
            copy_from_fat(self._part(one.start, one.size), 0, target)

    def _part(self, offset: int, size: int) -> Path:
        """Return a file with bytes of the disk. `qemu-img dd` is not used: versions count its blocks differently."""
        part = self.work / "part"
        part.unlink(missing_ok=True)
        name = str(self.path.absolute()).replace(",", ",,")  # qemu(1), -blockdev
        source = f"driver=raw,offset={offset},size={size},file.driver={self.format}"
        source += f",file.file.driver=file,file.file.filename={name}"
        self._qemu_img("convert", "--image-opts", source, "-O", "raw", part)
        return part

    def _qemu_img(self, *words: str | Path) -> str:
        try:
            return run_host_program(["qemu-img", *words], reads=[self.path.absolute()], writes=[self.work]).stdout
        except StagewrightError as error:
            if error.reason is not Reason.COMMAND_FAILED:
                raise
            message = f"{self.path}: qemu-img cannot read it as a disk of the format {self.format}"
            hint = "copy it again; an image that is the layer of another one cannot be read"
            raise StagewrightError(Reason.BAD_ARCHIVE, message, detail=error.detail, hint=hint) from error


def _ways(table: FoundTable, files: dict[str, int]) -> Iterator[BootPath]:
    arches = uefi_programs(files)
    if arches:
        yield BootPath("uefi", "disk", "EFI system partition in the partition table", arches)
    if table.has_boot_code:
        yield BootPath("bios", "disk", "boot code in the first sector")


def _problems(entry: FoundEntry, table: FoundTable, files: dict[str, int]) -> Iterator[str]:
    """Yield the problems of an entry: files that are missing, and partitions that the kernel does not find."""
    if entry.initrds:
        yield from missing_files(entry, files, "the boot partitions")
    words = arguments_of(entry)
    root = words.get("root", "")
    uuids, labels = [one.uuid for one in table.partitions], [one.label for one in table.partitions]
    for prefix, known in (("PARTUUID=", uuids), ("PARTLABEL=", labels)):
        value = root.removeprefix(prefix)
        if root.startswith(prefix) and "$" not in value and not _has(known, value):
            what = "UUID" if prefix == "PARTUUID=" else "label"
            yield f"root={root}: no partition of the disk has this {what}"
    for name, source in (("roothash", "systemd.verity_root_data"), ("usrhash", "systemd.verity_usr_data")):
        digits = words.get(name, "")
        if re.fullmatch(r"[0-9a-f]{64}", digits) and source not in words:  # systemd-veritysetup-generator(8)
            halves = [str(uuid.UUID(digits[:32])), str(uuid.UUID(digits[32:]))]
            if not all(_has(uuids, half) for half in halves):
                yield f"{name}=: the disk has no partitions with the UUIDs {halves[0]} and {halves[1]} of this hash"


def _has(known: Sequence[str], value: str) -> bool:
    return value.lower() in (one.lower() for one in known)
