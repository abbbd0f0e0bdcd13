"""Reproducible ISO images for UEFI and BIOS, for discs and sticks.

The EFI system partition is appended as a GPT partition and is also the El Torito image, so UEFI finds it on discs and
sticks. BIOS finds its boot image by El Torito on a disc, and by code in the first sector on a stick. Stagewright calls
xorriso directly: grub-mkrescue hides options and is not reproducible (measured).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import digest_of
from stagewright.lazy_dataclass import dataclass
from stagewright.media.identity import Identity
from stagewright.root.sandbox import host_program, run_host_program
from stagewright.run import pipeline, run
from stagewright.trees import walk_tree

EFI_SYSTEM_PARTITION = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_CLUSTER = 4096
_SLACK = 1 << 20  # file allocation tables and folders
_FAT_FILE = (1 << 32) - 1  # largest file on FAT, in bytes

SUMS = "sha512sums"
"""File on the medium with the digests of its files, for `sha512sum --check`."""

GENKERNEL_SUMS = "isoroot_b2sums"
"""The same with BLAKE2; genkernel's initramfs checks it with the argument `verify`."""


@dataclass(frozen=True)
class BiosBoot:
    """Code for BIOS: the boot image's path on the ISO, the code for the first sector, xorriso's options for both."""

    image: str
    mbr: Path
    options: tuple[str, ...]

    @classmethod
    def grub(cls, image: str, mbr: Path) -> BiosBoot:
        """Return the code of GRUB, which finds its modules by a table that xorriso writes into it."""
        return cls(image, mbr, ("--grub2-boot-info", "--grub2-mbr", str(mbr)))

    @classmethod
    def isolinux(cls, image: str, mbr: Path) -> BiosBoot:
        """Return the code of isolinux, which only reads plain ISO 9660 names, so these must equal the file names."""
        return cls(image, mbr, ("-isohybrid-mbr", str(mbr), "-relaxed-filenames", "-allow-lowercase"))


@dataclass(frozen=True)
class IsoContents:
    """Files of an ISO and of its EFI system partition, by path.

    ``esp`` is the least size of the partition in bytes; without files there is no partition. ``sums`` are the digest
    files to write on the ISO, with their algorithms as in hashlib. ``known`` are known sha512 digests by path.
    ``publisher`` and ``application`` are texts of at most 128 characters.
    """

    volume_id: str
    files: Mapping[str, Path]
    efi_files: Mapping[str, Path]
    bios: BiosBoot | None = None
    esp: int = 0
    sums: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    publisher: str = ""
    application: str = ""

    def identity(self, digests: Mapping[str, str], epoch: int) -> Identity:
        """Return the identifiers of the ISO, given the sha512 digests of its files."""
        on_esp = {path: self.known.get(path) or digest_of(source, "sha512") for path, source in self.efi_files.items()}
        named = (("volume", self.volume_id), ("publisher", self.publisher), ("application", self.application))
        facts = {**{f"/{path}": digest for path, digest in digests.items()}, **dict(named), "epoch": str(epoch)}
        return Identity.of({**facts, **{f"esp/{path}": digest for path, digest in on_esp.items()}})


def make_iso(contents: IsoContents, sink: Callable[[bytes], object], work: Path, epoch: int, log: IO[str]) -> None:
    """Make an ISO and call ``sink`` with its bytes, in blocks. ``work`` takes temporary files.

    xorriso writes into a pipe: the caller can digest what it stores, and does not read the image again.
    """
    tree = _lay_out(contents.files, work / "iso", epoch)
    patched = {contents.bios.image} if contents.bios else set()  # xorriso changes this file on the ISO
    digests = {path: contents.known.get(path) or digest_of(source, "sha512") for path, source in contents.files.items()}
    identity = contents.identity(digests, epoch)
    for name, algorithm in contents.sums.items():
        listed = {path: source for path, source in sorted(contents.files.items()) if path not in patched}
        known = digests if algorithm == "sha512" else {}
        sums = {path: known.get(path) or digest_of(source, algorithm) for path, source in listed.items()}
        (tree / name).write_text("".join(f"{digest}  ./{path}\n" for path, digest in sums.items()), encoding="utf-8")
        os.utime(tree / name, (epoch, epoch))
    os.utime(tree, (epoch, epoch))
    reads = [tree, *([contents.bios.mbr] if contents.bios else [])]
    words = ["xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-rational-rock", "-r"]
    words += ["--set_all_file_dates", f"={epoch}"]  # the boot catalog is not copied from a file with a date
    words += ["-volid", contents.volume_id, "-publisher", contents.publisher, "-appid", contents.application]
    words += ["-preparer", "STAGEWRIGHT", f"--modification-date={identity.date(epoch)}"]
    if contents.bios:
        words += ["-b", contents.bios.image, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
        words += contents.bios.options
    if contents.efi_files:
        partition = make_esp(
            contents.efi_files, work / "esp.img", work / "esp", epoch, log, identity.volume, least=contents.esp
        )
        reads.append(partition)
        words += ["--gpt_disk_guid", identity.guid]
        words += ["-partition_offset", "16", *([] if contents.bios else ["--protective-msdos-label"])]
        words += ["-append_partition", "2", EFI_SYSTEM_PARTITION, str(partition), "-appended_part_as_gpt"]
        words += ["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    env = {"SOURCE_DATE_EPOCH": str(epoch)}
    with host_program([*words, "-o", "-", tree], reads=reads) as sandboxed:
        pipeline([sandboxed.words], sink, env=env, log=log, pass_fds=sandboxed.descriptors)


def implant_md5(image: Path, log: IO[str]) -> None:
    """Write the digest of an ISO into its header, for checkisomd5(1) in dracut's initramfs."""
    run_host_program(["implantisomd5", "--force", image], writes=[image], log=log)


def make_esp(
    files: Mapping[str, Path], target: Path, work: Path, epoch: int, log: IO[str], number: str, *, least: int = 0
) -> Path:
    """Write a FAT image with these files, which is as small as possible or has ``least`` bytes. Needs no root rights.

    ``number`` is the number of the file system: eight hexadecimal digits. Raises ``BUILD_FAILED`` if ``least`` is set
    and too small, or if a file is too large for FAT.
    """
    size = esp_size(files, least)
    tree = _lay_out(files, work, epoch)
    with target.open("wb") as stream:
        stream.truncate(size)
    env = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    run(["mkfs.vfat", "--invariant", "-i", number, "-n", "ESP", target], env=env, log=log)
    if entries := sorted(str(entry) for entry in tree.iterdir()):
        # Without -m, mcopy writes SOURCE_DATE_EPOCH: files of a payload from a remote have the time of their arrival.
        words = ["mcopy", "-s", "-Q", "-i", str(target), *entries, "::"]
        run_host_program(words, reads=[tree], writes=[target], env=env, log=log)
    return target


def esp_size(files: Mapping[str, Path], least: int = 0) -> int:
    """Return the size of an EFI system partition with these files in bytes, a multiple of 1 MiB."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    large = [name for name, size in sizes.items() if size > _FAT_FILE]
    if large:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{', '.join(large)}: too large for the EFI system partition (FAT files must be below 4 GiB)",
            hint="make the initramfs smaller, or use grub, which reads it from the ISO",
        )
    size = sum(math.ceil(size / _CLUSTER) * _CLUSTER for size in sizes.values()) + _SLACK
    size = math.ceil((size + size // 64) / (1 << 20)) << 20
    if least and size > least:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"esp: {least >> 20} MiB is too small for the EFI system partition (its files need {size >> 20} MiB)",
            hint="set a larger `esp`, or remove it",
        )
    return max(size, least)


def _lay_out(files: Mapping[str, Path], tree: Path, epoch: int) -> Path:
    """Fill a folder with hard links to the files, or copies. Copies and folders get the time ``epoch``."""
    for name, source in sorted(files.items()):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)
            os.utime(path, (epoch, epoch))
    for step in walk_tree(tree):
        os.utime(step.folder, (epoch, epoch))
    return tree
