"""Inspection of media of any origin: an ISO file, or a folder for web servers.

xorriso(1), mtools(1) and unsquashfs(1) read the files: nothing is mounted, and names on a medium are not trusted. The
result lists facts; its ``problems`` lists what is wrong.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import digest_of
from stagewright.media.bootmenu.entry import LONGEST_FILE, FoundEntry
from stagewright.media.digest_checks import DigestCheck, checks_next_to, esp_check, list_checks, verity_checks
from stagewright.media.disk.read_table import FoundPartition
from stagewright.media.efi import EfiArch
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.loaders import ELTORITO, GRUB_MENU
from stagewright.media.menus import is_menu, problems_of, read_menu, unified
from stagewright.media.payload import IMAGE, INITRAMFS, KERNEL
from stagewright.root.sandbox import run_host_program
from stagewright.trees import walk_tree
from stagewright.untrusted import LARGEST, number, open_regular

SHARED = (KERNEL, INITRAMFS, IMAGE)
"""Files that are identical on all media of the same system."""

_BLOCK = 2048
_DESCRIPTOR = 16 * _BLOCK  # ECMA-119, 6.7.1: the first volume descriptor
_ESP = "28732ac11ff8d211ba4b00a0c93ec93b"  # the GUID of EFI system partitions, as xorriso prints it


@dataclass(frozen=True)
class BootPath:
    """One way in which firmware can boot a medium.

    ``firmware`` is ``uefi`` or ``bios``, ``attach`` is ``cd``, ``usb`` or ``disk``, ``by`` the structure that the
    firmware uses. ``arches`` are the architectures that have a program for UEFI, as Gentoo names them if they are
    known.
    """

    firmware: str
    attach: str
    by: str
    arches: tuple[str, ...] = ()


@dataclass(frozen=True)
class InspectedMedium:
    """The facts about a medium.

    ``kind`` is ``iso``, ``folder`` or ``disk`` (see ``media/inspect_disk.py``). ``files`` and ``esp`` are the sizes of
    the files on the medium and on its EFI system partition, in bytes. ``shared`` are the sha512 digests of
    :data:`SHARED`. ``unpacked`` is the memory of the first initramfs after it is unpacked, in bytes; 0 if it is
    unknown. Paths are relative to the medium. ``partitions`` are those of a disk, and ``faults`` what is wrong with its
    partition table.
    """

    path: Path
    kind: str
    size: int
    volume_id: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    esp: Mapping[str, int] = field(default_factory=dict)
    ways: tuple[BootPath, ...] = ()
    loaders: tuple[str, ...] = ()
    entries: tuple[FoundEntry, ...] = ()
    checks: tuple[DigestCheck, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)
    squashfs: str = ""
    unpacked: int = 0
    partitions: tuple[FoundPartition, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Problems with partitions, digests, menu entries and boot paths."""
        found = list(self.faults)
        found += [f"{check.against}: {name} does not match" for check in self.checks for name in check.wrong]
        found += [f"{entry.file}, {entry.title!r}: {trap}" for entry in self.entries for trap in entry.traps]
        if self.kind == "iso" and not self.ways:
            found.append("not bootable: it has neither a boot image nor an EFI system partition")
        if self.kind == "disk" and not self.ways:
            found.append("not bootable: neither a program for UEFI in EFI/BOOT, nor boot code in the first sector")
        return found


def inspect(path: Path, work: Path) -> InspectedMedium:
    """Inspect an ISO or a folder. ``work`` is an empty folder for copies of its files.

    Raises ``MISSING_FILE`` if it does not exist, ``BAD_ARCHIVE`` if it is neither or if the ISO is truncated.
    """
    if not path.exists():
        raise StagewrightError(Reason.MISSING_FILE, f"file or folder not found: {path}")
    work.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        return _folder(path, work)
    volume_id = _volume(path)
    tree, esp_tree, report = unpack_iso(path, work)
    structures = _BootStructures.of(report)
    files, esp = sizes_below(tree), sizes_below(esp_tree) if esp_tree.exists() else {}
    entries = [*found_entries(tree, files), *found_entries(esp_tree, esp)]
    return InspectedMedium(
        path=path,
        kind="iso",
        size=path.stat().st_size,
        volume_id=volume_id,
        files=files,
        esp=esp,
        ways=tuple(structures.ways(esp)),
        loaders=tuple(found_loaders(files, esp, entries)),
        entries=tuple(_with_problems(entries, volume_id, files, esp)),
        checks=(
            *list_checks(tree, files),
            *verity_checks(tree, files, entries),
            *checks_next_to(path),
            *esp_check(tree, files, esp_tree, esp, entries),
        ),
        shared=_shared(tree, files),
        squashfs=_squashfs(tree, files),
        unpacked=_unpacked(tree, files, work),
    )


def unpack_iso(path: Path, work: Path) -> tuple[Path, Path, str]:
    """Copy the files of an ISO into ``work/iso``, and those of its EFI system partition, if any, into ``work/esp``.

    Return both folders and xorriso's report about boot structures. Raises ``BAD_ARCHIVE`` if the ISO cannot be read.
    """
    tree, esp_tree = work / "iso", work / "esp"
    tree.mkdir(parents=True)
    _xorriso(path, "-osirrox", "on", "-extract", "/", tree, writes=[tree])
    run_host_program(["chmod", "-R", "u+rwX", tree], writes=[tree])
    report = _xorriso(path, "-report_el_torito", "plain", "-report_system_area", "plain")
    for offset in _BootStructures.of(report).esp[:1]:
        esp_tree.mkdir()
        copy_from_fat(path, offset, esp_tree)
    return tree, esp_tree, report


def arches_of(path: Path, work: Path) -> list[str]:
    """Return the architectures whose UEFI starts an ISO, by its EFI system partition. ``work`` is an empty folder."""
    _volume(path)
    structures = _BootStructures.of(_xorriso(path, "-report_el_torito", "plain", "-report_system_area", "plain"))
    for offset in structures.esp[:1]:
        copy_from_fat(path, offset, work)
    return sorted({arch for way in structures.ways(sizes_below(work)) for arch in way.arches})


def _folder(path: Path, work: Path) -> InspectedMedium:
    files = sizes_below(path)
    if not any(name in files for name in SHARED):
        message = f"{path}: not the folder of a live system (not found: {', '.join(SHARED)})"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="name an ISO, or a folder with these files")
    entries = list(found_entries(path, files))
    return InspectedMedium(
        path=path,
        kind="folder",
        size=sum(files.values()),
        files=files,
        loaders=tuple(found_loaders(files, {}, entries)),
        entries=tuple(_with_problems(entries, "", files, {})),
        checks=(*list_checks(path, files), *verity_checks(path, files, entries)),
        shared=_shared(path, files),
        squashfs=_squashfs(path, files),
        unpacked=_unpacked(path, files, work),
    )


def _volume(path: Path) -> str:
    """Return the volume id. Raises ``BAD_ARCHIVE`` if it is not an ISO or is truncated (ECMA-119, 8.4)."""
    try:
        with open_regular(path) as stream:
            stream.seek(_DESCRIPTOR)
            header = stream.read(_BLOCK)
    except OSError as error:
        message, hint = f"{path}: cannot be read: {error.strerror}", "name an ISO image, or a folder with a live system"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint=hint) from error
    if len(header) < _BLOCK or header[:6] != b"\x01CD001":
        hint = "name an ISO image, a disk image, or a folder with a kernel, an initramfs and a squashfs"
        raise StagewrightError(Reason.BAD_ARCHIVE, f"{path}: not an ISO 9660 image", hint=hint)
    (blocks,) = struct.unpack_from("<I", header, 80)
    missing = blocks * _BLOCK - path.stat().st_size
    if missing > 0:
        message = f"{path}: truncated (the last {missing} bytes are missing)"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="copy or download it again")
    return header[40:72].decode(errors="replace").rstrip()


@dataclass(frozen=True)
class _BootStructures:
    """Boot structures as xorriso reports them; ``esp`` are the offsets of EFI system partitions in bytes."""

    esp: tuple[int, ...]
    cd: tuple[str, ...]
    efi_partition: bool
    bios_sector: str

    @classmethod
    def of(cls, report: str) -> _BootStructures:
        images = re.findall(r"^El Torito boot img :\s+(\d+)\s+(BIOS|UEFI)\s+y\s.*?(\d+)$", report, re.MULTILINE)
        types = re.findall(r"^GPT type GUID\s+:\s+(\d+)\s+(\S+)", report, re.MULTILINE)
        starts = dict(re.findall(r"^GPT start and size\s*:\s+(\d+)\s+(\d+)", report, re.MULTILINE))
        partitions = [_offset(starts[entry], 512) for entry, kind in types if kind == _ESP and entry in starts]
        partitions += [
            _offset(start, 512)
            for kind, start in re.findall(r"^MBR partition\s+:\s+\d+\s+\S+\s+(0xef)\s+(\d+)", report, re.MULTILINE)
        ]
        summary = "".join(re.findall(r"^System area summary:(.*)$", report, re.MULTILINE))
        sector = next((name for name in ("grub2-mbr", "isohybrid") if name in summary), "")
        efi = [_offset(block, _BLOCK) for _, platform, block in images if platform == "UEFI"]
        return cls(
            tuple(dict.fromkeys([*efi, *partitions])), tuple(kind for _, kind, _ in images), bool(partitions), sector
        )

    def ways(self, esp: Mapping[str, int]) -> Iterator[BootPath]:
        """Yield the boot paths; an EFI system partition without a program does not count."""
        arches = uefi_programs(esp)
        if "UEFI" in self.cd and arches:
            yield BootPath("uefi", "cd", "El Torito image with an EFI system partition", arches)
        if self.efi_partition and arches:
            yield BootPath("uefi", "usb", "EFI system partition in the partition table", arches)
        if "BIOS" in self.cd:
            yield BootPath("bios", "cd", "El Torito boot image")
        if self.bios_sector:
            yield BootPath("bios", "usb", f"first sector ({self.bios_sector})")


def uefi_programs(files: Iterable[str]) -> tuple[str, ...]:
    """Return the architectures that have a program for UEFI, as Gentoo names them if they are known."""
    programs = [name for name in files if re.fullmatch(r"EFI/BOOT/BOOT\w+\.EFI", name, re.IGNORECASE)]
    return tuple(sorted({str(EfiArch.starts(name) or name.rpartition("/")[2]) for name in programs}))


def _offset(blocks: str, size: int) -> int:
    """Return an offset in bytes. Raises ``BAD_ARCHIVE`` if no file is that large."""
    found = number(blocks, limit=LARGEST // _BLOCK)
    if found is None:
        message = f"invalid start of a partition or boot image (found {blocks[:30]})"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="copy the ISO again")
    return found * size


def _xorriso(path: Path, *words: str | Path, writes: Sequence[Path] = ()) -> str:
    """Run xorriso on an ISO and return its output. Raises ``BAD_ARCHIVE`` if it cannot read the ISO."""
    try:
        command = ["xorriso", "-no_rc", "-report_about", "FAILURE", "-indev", path.absolute(), *words]
        return run_host_program(command, reads=[path.absolute()], writes=writes).stdout
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        message = f"{path}: xorriso cannot read it as an ISO image"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, detail=error.detail, hint="copy it again") from error


def copy_from_fat(path: Path, offset: int, target: Path) -> None:
    """Copy all files out of an EFI system partition at an offset in bytes.

    Raises ``BAD_ARCHIVE`` if mtools cannot read it.
    """
    try:
        command = ["mcopy", "-s", "-n", "-m", "-i", f"{path.absolute()}@@{offset}", "::*", str(target)]
        run_host_program(command, reads=[path.absolute()], writes=[target], env={"MTOOLS_SKIP_CHECK": "1"})
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        message = f"{path}: mtools cannot read its EFI system partition"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, detail=error.detail, hint="copy it again") from error


def sizes_below(tree: Path) -> dict[str, int]:
    """Return the sizes of the regular files below a folder, in bytes; symbolic links are not followed."""
    found = {
        step.path(file.name): file.stat(follow_symlinks=False).st_size
        for step in walk_tree(tree)
        for file in step.files
        if file.is_file(follow_symlinks=False)
    }
    return dict(sorted(found.items()))


def found_entries(tree: Path, files: Iterable[str]) -> Iterator[FoundEntry]:
    """Yield the entries of all boot menus among files."""
    names = {name.lower(): name for name in files}

    def read(name: str) -> str | None:
        found = names.get(name.lower())
        return _text(tree / found) if found else None

    for name in files:
        if is_menu(name):
            yield from read_menu(name, _text(tree / name), read)
        elif re.fullmatch(r"EFI/(BOOT|Linux)/[^/]+\.EFI", name, re.IGNORECASE):
            entry = _unified(name, tree / name)
            if entry:
                yield entry


def _unified(name: str, path: Path) -> FoundEntry | None:
    """Return the entry of a unified kernel image. Only the pages that are looked at are read."""
    if not path.stat().st_size:
        return None
    with open_regular(path, follow=False) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as program:
        return unified(name, program)


def _text(path: Path) -> str:
    with open_regular(path, follow=False) as stream:
        return stream.read(LONGEST_FILE).decode(errors="replace")


def _with_problems(
    entries: Sequence[FoundEntry], volume_id: str, files: Mapping[str, int], esp: Mapping[str, int]
) -> Iterator[FoundEntry]:
    """Yield each entry once, even if its file is in both file systems, with its problems."""
    known = [*files, *esp]
    for entry in {replace(entry, default=False): entry for entry in entries}.values():
        yield replace(entry, traps=tuple(problems_of(entry, volume_id, known)))


def found_loaders(files: Mapping[str, int], esp: Mapping[str, int], entries: Sequence[FoundEntry]) -> Iterator[str]:
    """Yield the boot loaders, recognized by their files. Media without GRUB can have its menu, for other programs."""
    names = {name.lower() for name in (*files, *esp)}
    others = list(_otherfound_loaders(names, entries))
    menus = {name for name in names if name.endswith("grub.cfg")}
    if menus and (not others or menus != {GRUB_MENU} or any(name.endswith(_OF_GRUB) for name in names)):
        yield "grub"
    yield from others


_OF_GRUB = (f"/{ELTORITO}", ".mod")


def _otherfound_loaders(names: Collection[str], entries: Sequence[FoundEntry]) -> Iterator[str]:
    if "loader/loader.conf" in names:
        yield "systemd-boot"
    if any(name.endswith("isolinux.bin") for name in names):
        yield "isolinux"
    if any("pxelinux.cfg/" in name for name in names):
        yield "pxelinux"
    if any(entry.kernel == entry.file for entry in entries):
        yield "uki"
    if any(name.endswith(".ipxe") for name in names):
        yield "ipxe"


def _shared(tree: Path, files: Mapping[str, int]) -> dict[str, str]:
    return {name: digest_of(tree / name, "sha512") for name in SHARED if name in files}


def _squashfs(tree: Path, files: Mapping[str, int]) -> str:
    """Return the compression and block size that unsquashfs reports, or "" if there is no image."""
    if IMAGE not in files:
        return ""
    image = (tree / IMAGE).absolute()
    done = run_host_program(["unsquashfs", "-s", image], reads=[image], check=False)
    words = dict(re.findall(r"^(Compression|Block size) (\S+)", done.stdout, re.MULTILINE))
    return f"{words.get('Compression', '?')}, blocks of {words.get('Block size', '?')}" if done.code == 0 else "broken"


def _unpacked(tree: Path, files: Mapping[str, int], work: Path) -> int:
    """Return the memory of the unpacked initramfs in bytes, or 0 if there is none, or none that can be unpacked."""
    try:
        return InitramfsContents.of(tree / INITRAMFS, work).unpacked if INITRAMFS in files else 0
    except StagewrightError as error:
        if error.reason is not Reason.BAD_ARCHIVE:
            raise
        return 0
