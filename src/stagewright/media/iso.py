"""ISO images for UEFI machines, from CD and from USB stick, the same bytes for the same parts.

The EFI system partition is appended as a GPT partition and named as the El Torito image, so both ways of starting find
it. xorriso is called directly: grub-mkrescue hides options and is not reproducible (measured).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.run import run

EFI_SYSTEM_PARTITION = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_FAT_ID = "4C495645"  # any fixed number; mkfs.vfat takes the time otherwise
_CLUSTER = 4096
_SLACK = 1 << 20  # file allocation tables and folders


@dataclass(frozen=True)
class Image:
    """What an ISO consists of: files of the ISO file system and of the EFI system partition, by path."""

    volume_id: str
    files: Mapping[str, Path]
    efi_files: Mapping[str, Path]


def make_iso(image: Image, target: Path, work: Path, epoch: int, log: IO[str]) -> None:
    """Write an ISO to ``target``, with ``work`` for temporary files."""
    partition = make_esp(image.efi_files, work / "esp.img", work / "esp", epoch, log)
    tree = _lay_out(image.files, work / "iso", epoch)
    run(
        [
            *("xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-rational-rock", "-r"),
            *("--set_all_file_dates", f"={epoch}"),  # the boot catalog has no file to take its date from
            *("-volid", image.volume_id, "-partition_offset", "16", "--protective-msdos-label"),
            *("-append_partition", "2", EFI_SYSTEM_PARTITION, partition, "-appended_part_as_gpt"),
            *("-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"),
            *("-o", target, tree),
        ],
        env={"SOURCE_DATE_EPOCH": str(epoch)},
        log=log,
    )


def esp_size(files: Mapping[str, Path]) -> int:
    """How many bytes a FAT image needs that holds these files: whole mebibytes."""
    size = sum(math.ceil(path.stat().st_size / _CLUSTER) * _CLUSTER for path in files.values()) + _SLACK
    size += size // 64
    return math.ceil(size / (1 << 20)) << 20


def make_esp(
    files: Mapping[str, Path], target: Path, work: Path, epoch: int, log: IO[str], *, size: int | None = None
) -> Path:
    """Write a FAT image that holds these files, without root rights; as large as they need unless ``size`` says."""
    tree = _lay_out(files, work, epoch)
    with target.open("wb") as stream:
        stream.truncate(size or esp_size(files))
    env = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    run(["mkfs.vfat", "--invariant", "-i", _FAT_ID, "-n", "ESP", target], env=env, log=log)
    for name in sorted(entry.name for entry in tree.iterdir()):
        run(["mcopy", "-s", "-m", "-Q", "-i", target, tree / name, "::"], env=env, log=log)
    return target


def _lay_out(files: Mapping[str, Path], tree: Path, epoch: int) -> Path:
    """A folder with the files at their paths, as hard links where that is possible, and with one time for all."""
    for name, source in sorted(files.items()):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)
            os.utime(path, (epoch, epoch))
    for folder, _, _ in os.walk(tree, topdown=False):
        os.utime(folder, (epoch, epoch))
    return tree
