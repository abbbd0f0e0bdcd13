"""ISO images for UEFI and BIOS, from disc and from stick, the same bytes for the same parts.

The EFI system partition is appended as a GPT partition and named as the El Torito image, so both ways of starting find
it. A BIOS finds its boot image by El Torito on a disc, by the code in the first sector on a stick. xorriso is called
directly: grub-mkrescue hides options and is not reproducible (measured).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import digest_of
from stagewright.run import run

EFI_SYSTEM_PARTITION = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_FAT_ID = "4C495645"  # any fixed number; mkfs.vfat takes the time otherwise
_CLUSTER = 4096
_SLACK = 1 << 20  # file allocation tables and folders
_FAT_FILE = (1 << 32) - 1  # a FAT file's length has 32 bits

SUMS = "sha512sums"
"""Digests of the files on a medium, on it, for `sha512sum --check`."""

GENKERNEL_SUMS = "isoroot_b2sums"
"""The same by BLAKE2, which genkernel's initramfs checks when it is told to `verify`."""


@dataclass(frozen=True)
class Bios:
    """What a BIOS starts: the boot image by its path on the ISO, the code for the first sector, options for both."""

    image: str
    mbr: Path
    options: tuple[str, ...]

    @classmethod
    def grub(cls, image: str, mbr: Path) -> Bios:
        """GRUB's, which reads its modules' place from a table that xorriso writes into it."""
        return cls(image, mbr, ("--grub2-boot-info", "--grub2-mbr", str(mbr)))

    @classmethod
    def isolinux(cls, image: str, mbr: Path) -> Bios:
        """isolinux, which reads plain ISO names only, so these are to be those of the files."""
        return cls(image, mbr, ("-isohybrid-mbr", str(mbr), "-relaxed-filenames", "-allow-lowercase"))


@dataclass(frozen=True)
class Image:
    """What an ISO consists of: files of the ISO file system and of the EFI system partition, by path.

    ``esp`` is the least size of that partition in bytes; without files there is none. ``sums`` are names of digest
    files to write, with their algorithms by hashlib's names; ``known`` are the sha512 of files that need not be read.
    """

    volume_id: str
    files: Mapping[str, Path]
    efi_files: Mapping[str, Path]
    bios: Bios | None = None
    esp: int = 0
    sums: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)


def make_iso(image: Image, target: Path, work: Path, epoch: int, log: IO[str]) -> None:
    """Write an ISO to ``target``, with ``work`` for temporary files."""
    tree = _lay_out(image.files, work / "iso", epoch)
    patched = {image.bios.image} if image.bios else set()  # xorriso writes a table into it
    for name, algorithm in image.sums.items():
        known = image.known if algorithm == "sha512" else {}
        listed = {path: source for path, source in image.files.items() if path not in patched}
        sums = {path: known.get(path) or digest_of(source, algorithm) for path, source in sorted(listed.items())}
        (tree / name).write_text("".join(f"{digest}  ./{path}\n" for path, digest in sums.items()), encoding="utf-8")
        os.utime(tree / name, (epoch, epoch))
    os.utime(tree, (epoch, epoch))
    words = ["xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-rational-rock", "-r"]
    words += ["--set_all_file_dates", f"={epoch}"]  # the boot catalog has no file to take its date from
    words += ["-volid", image.volume_id]
    if image.bios:
        words += ["-b", image.bios.image, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
        words += image.bios.options
    if image.efi_files:
        partition = make_esp(image.efi_files, work / "esp.img", work / "esp", epoch, log, least=image.esp)
        words += ["-partition_offset", "16", *([] if image.bios else ["--protective-msdos-label"])]
        words += ["-append_partition", "2", EFI_SYSTEM_PARTITION, str(partition), "-appended_part_as_gpt"]
        words += ["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    run([*words, "-o", target, tree], env={"SOURCE_DATE_EPOCH": str(epoch)}, log=log)


def implant_md5(image: Path, log: IO[str]) -> None:
    """Write the digest of an ISO into its own header, for checkisomd5(1) in an initramfs of dracut's."""
    run(["implantisomd5", "--force", image], log=log)


def make_esp(files: Mapping[str, Path], target: Path, work: Path, epoch: int, log: IO[str], *, least: int = 0) -> Path:
    """Write a FAT image that holds these files, without root rights; as large as they need, or ``least`` bytes.

    Raises ``BUILD_FAILED`` when ``least`` was asked for and is too little, or when a file is too large for FAT.
    """
    size = _esp_size(files, least)
    tree = _lay_out(files, work, epoch)
    with target.open("wb") as stream:
        stream.truncate(size)
    env = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    run(["mkfs.vfat", "--invariant", "-i", _FAT_ID, "-n", "ESP", target], env=env, log=log)
    for name in sorted(entry.name for entry in tree.iterdir()):
        run(["mcopy", "-s", "-m", "-Q", "-i", target, tree / name, "::"], env=env, log=log)
    return target


def _esp_size(files: Mapping[str, Path], least: int) -> int:
    """The size of the partition in bytes, in whole MiB."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    large = [name for name, size in sizes.items() if size > _FAT_FILE]
    if large:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{', '.join(large)} is too large for the EFI system partition: files on FAT are below 4 GiB",
            hint="make the initramfs smaller, or use grub, which reads it from the ISO",
        )
    size = sum(math.ceil(size / _CLUSTER) * _CLUSTER for size in sizes.values()) + _SLACK
    size = math.ceil((size + size // 64) / (1 << 20)) << 20
    if least and size > least:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"the EFI system partition is to be {least >> 20} MiB, but what goes there needs {size >> 20} MiB",
            hint="set a larger `esp`, or leave it out, and the partition is as large as it must be",
        )
    return max(size, least)


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
