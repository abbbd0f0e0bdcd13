"""A feed of updates: the partitions and the kernel image of a disk image, as systemd-sysupdate downloads them.

::

    NAME_VERSION_UUID.root.xz           content of the root partition, and the UUID that the partition gets
    NAME_VERSION_UUID.root-verity.xz    content of its verity partition
    NAME_VERSION.efi                    the unified kernel image with the root hash
    SHA256SUMS                          digests of all files, in the form of sha256sum(1)

Everything is taken from a disk image, so that an updated machine has the same bytes as a new one. ``usr`` replaces
``root`` in names if the image has a /usr partition. Only the part of a partition that dm-verity protects is taken.
Formats: sysupdate.d(5), the Discoverable Partitions Specification, and verity's superblock of cryptsetup (version 1).
"""

from __future__ import annotations

import enum
import functools
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.media.disk.partition_types import known_types
from stagewright.media.disk.verity_partition import read_sizes
from stagewright.run import pipeline, run

SUMS = "SHA256SUMS"

ENTRIES = "EFI/Linux"
"""Folder of unified kernel images in an EFI system partition (Boot Loader Specification)."""

_SECTOR = 512
SYSTEM_NAME, SYSTEM_VERSION = r"[A-Za-z0-9][A-Za-z0-9.-]{0,15}", r"[A-Za-z0-9][A-Za-z0-9.~^-]{0,17}"
"""Patterns of the name and the version of a system. Together they fit into the label of a partition (35 characters).
A plus sign would begin the counter of boots in the name of a kernel image."""

_LABEL = re.compile(rf"(?P<name>{SYSTEM_NAME})_(?P<version>{SYSTEM_VERSION})")
_COUNTER = re.compile(r"\+\d+(-\d+)?$")


class FeedCompression(enum.StrEnum):
    """Compressions of partitions that systemd-sysupdate reads. systemd 257 does not read zstd."""

    XZ = "xz"
    GZIP = "gz"
    NONE = "none"

    @property
    def suffix(self) -> str:
        """The end of file names."""
        return "" if self is FeedCompression.NONE else f".{self.value}"

    @property
    def command(self) -> list[str]:
        """The command that compresses standard input. Its output does not depend on the number of cores."""
        match self:
            case FeedCompression.XZ:
                return ["xz", "--stdout", "--threads=2", "--block-size=16MiB"]
            case FeedCompression.GZIP:
                return ["gzip", "--no-name", "--stdout"]
        return ["cat"]


@dataclass(frozen=True)
class FeedPartition:
    """A partition of a disk image: its role, such as ``root`` or ``root-verity``, and its place in bytes."""

    role: str
    label: str
    uuid: str
    start: int
    size: int


@dataclass(frozen=True)
class SlotImage:
    """The slot of a disk image: name and version of its system, partitions, and the path of its kernel image."""

    name: str
    version: str
    partitions: Sequence[FeedPartition]
    kernel: Path


def read_slot(disk: Path, work: Path) -> SlotImage:
    """Return the slot of a raw disk image, after copying its kernel image to ``work``.

    Raises: BAD_ARCHIVE if the image does not have exactly one filled slot.
    """
    table, roles = _table(disk), _roles()
    found = [
        FeedPartition(
            roles[part["type"].lower()],
            part.get("name", ""),
            str(part["uuid"]).lower(),
            int(part["start"]) * _SECTOR,
            int(part["size"]) * _SECTOR,
        )
        for part in table
        if part["type"].lower() in roles and part.get("name", "") != "_empty"
    ]
    labels = {part.label for part in found}
    match = _LABEL.fullmatch(next(iter(labels), "")) if len(labels) == 1 else None
    if not match or len({part.role for part in found}) != len(found):
        raise _unfit(disk, f"its partitions are not one slot NAME_VERSION ({', '.join(sorted(labels)) or 'none'})")
    if not any(part.role.endswith("-verity") for part in found) or len(found) != 2:
        raise _unfit(disk, "its slot does not have one partition with data and one for dm-verity")
    kernel = _kernel(disk, table, work, match[0])
    trimmed = _trimmed(disk, found)
    return SlotImage(match["name"], match["version"], trimmed, kernel)


def write_feed(
    slot: SlotImage, disk: Path, folder: Path, compression: FeedCompression, *, epoch: int, log: IO[str]
) -> None:
    """Write the files of a slot and SHA256SUMS to a folder."""
    base = f"{slot.name}_{slot.version}"
    for part in slot.partitions:
        target = folder / f"{base}_{part.uuid}.{part.role}{compression.suffix}"
        with target.open("wb") as stream:
            _extract(disk, part, compression.command, stream, log)
    shutil.copyfile(slot.kernel, folder / f"{base}.efi")
    write_sums(folder, epoch)


def write_sums(folder: Path, epoch: int) -> None:
    """Write SHA256SUMS of all files of a feed, and set their times."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(SUMS))
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    for name in (*names, SUMS):
        os.utime(folder / name, (epoch, epoch))


def _table(disk: Path) -> list[dict[str, Any]]:
    said = run(["sfdisk", "--json", disk], check=False)
    table = json.loads(said.stdout)["partitiontable"] if said.code == 0 else {}
    if table.get("label") != "gpt":
        raise _unfit(disk, "no GUID partition table")
    return list(table["partitions"])


@functools.cache
def _roles() -> dict[str, str]:
    """Return ``root``, ``root-verity`` and so on by the GUIDs of all architectures."""
    found = {}
    for name, guid in known_types().items():
        slot, _, rest = name.partition("-")
        if slot in ("root", "usr") and not rest.endswith("-verity-sig"):
            found[guid] = f"{slot}-verity" if rest.endswith("-verity") else slot
    return found


def _kernel(disk: Path, table: Sequence[dict[str, Any]], work: Path, base: str) -> Path:
    """Copy the kernel image of the slot out of the EFI system partition."""
    type_ = known_types()["esp"]
    start = next((int(part["start"]) * _SECTOR for part in table if part["type"].lower() == type_), None)
    if start is None:
        raise _unfit(disk, "no EFI system partition")
    esp = f"{disk}@@{start}"
    listed = run(["mdir", "-b", "-i", esp, f"::{ENTRIES}"], check=False).stdout.split()
    names = [line.rpartition("/")[2] for line in listed]
    fitting = [name for name in names if _COUNTER.sub("", name.removesuffix(".efi")) == base]
    if len(fitting) != 1:
        raise _unfit(disk, f"{ENTRIES} does not have one kernel image {base}.efi ({', '.join(names) or 'none'})")
    target = work / f"{base}.efi"
    run(["mcopy", "-n", "-i", esp, f"::{ENTRIES}/{fitting[0]}", target])
    return target


def _trimmed(disk: Path, parts: Sequence[FeedPartition]) -> list[FeedPartition]:
    """Return the partitions with the sizes that dm-verity uses, by the superblock of the verity partition."""
    verity = next(part for part in parts if part.role.endswith("-verity"))
    with disk.open("rb") as stream:
        stream.seek(verity.start)
        sizes = read_sizes(stream)
    if sizes is None:
        raise _unfit(disk, "its verity partition has no superblock that is known")
    found = []
    for part in parts:
        size = sizes[part is verity]
        if size > part.size:
            raise _unfit(disk, f"its {part.role} partition is smaller than its verity superblock says")
        found.append(FeedPartition(part.role, part.label, part.uuid, part.start, size))
    return found


def _extract(disk: Path, part: FeedPartition, compressor: list[str], target: IO[bytes], log: IO[str]) -> None:
    words = ["dd", f"if={disk}", "bs=1M", "iflag=skip_bytes,count_bytes,fullblock", f"skip={part.start}"]
    pipeline([[*words, f"count={part.size}", "status=none"], compressor], target.write, log=log)


def _unfit(disk: Path, why: str) -> StagewrightError:
    hint = 'name a disk image with a layout of two slots, such as layout = "ab"'
    return StagewrightError(Reason.BAD_ARCHIVE, f"{disk.name}: cannot be a source of updates: {why}", hint=hint)
