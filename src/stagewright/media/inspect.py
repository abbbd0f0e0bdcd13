"""What is on a medium and how it starts, read from outside: an ISO file, or a folder as web servers offer it.

By xorriso(1), mtools(1) and unsquashfs(1): nothing is mounted, and no name on a medium is trusted. What is found is
facts; whether they are as they should be is said by ``problems``.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import digest_of
from stagewright.media.efi import EfiArch
from stagewright.media.menus import Line, is_menu, read_menu, traps_of, unified
from stagewright.media.payload import INITRAMFS, KERNEL
from stagewright.run import run

SHARED = (KERNEL, INITRAMFS, "image.squashfs")
"""What media of the same system have in common, bit for bit (R63)."""

_BLOCK = 2048
_DESCRIPTOR = 16 * _BLOCK  # ECMA-119, 6.7.1: the first volume descriptor
_ESP = "28732ac11ff8d211ba4b00a0c93ec93b"  # the GUID of EFI system partitions, as xorriso prints it
_SUMS = ("sha512sums", "isoroot_b2sums", "isoroot_checksums")
_DIGEST = {128: ("sha512", "blake2b"), 64: ("sha256",), 40: ("sha1",)}  # by its digits; two have as many


@dataclass(frozen=True)
class Way:
    """A way to start: firmware (``uefi``, ``bios``), ``cd`` or ``usb``, and by what on the medium.

    ``arches`` are the architectures that UEFI finds a program for, by Gentoo's names where they are known.
    """

    firmware: str
    attach: str
    by: str
    arches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """Files checked against a list of digests, and those that differ or are missing."""

    against: str
    files: int
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A line of a boot menu and what is known to go wrong with it."""

    file: str
    title: str
    kernel: str
    initramfs: str
    arguments: str
    traps: tuple[str, ...]


@dataclass(frozen=True)
class Medium:
    """What was found. Paths are relative to the medium; ``esp`` is the EFI system partition; sizes are in bytes."""

    path: Path
    kind: str
    size: int
    volume_id: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    esp: Mapping[str, int] = field(default_factory=dict)
    ways: tuple[Way, ...] = ()
    loaders: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    checks: tuple[Check, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)  # sha512 of the files that media have in common
    squashfs: str = ""

    @property
    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = [f"{check.against}: {name} is not what it says" for check in self.checks for name in check.wrong]
        found += [f"{entry.file}, {entry.title!r}: {trap}" for entry in self.entries for trap in entry.traps]
        if self.kind == "iso" and not self.ways:
            found.append("nothing can start from it: it has neither a boot image nor an EFI system partition")
        return found


def inspect(path: Path, work: Path) -> Medium:
    """Look at an ISO or a folder; ``work`` is an empty folder that takes copies of its files.

    Raises ``MISSING_FILE`` or ``BAD_ARCHIVE`` for what is neither, and for an ISO that is not whole.
    """
    if not path.exists():
        raise StagewrightError(Reason.MISSING_FILE, f"no such file or folder: {path}")
    if path.is_dir():
        return _folder(path)
    volume_id = _volume(path)
    tree = work / "iso"
    tree.mkdir(parents=True)
    _xorriso(path, "-osirrox", "on", "-extract", "/", tree)
    run(["chmod", "-R", "u+rwX", tree])
    report = _xorriso(path, "-report_el_torito", "plain", "-report_system_area", "plain")
    places = _Places.of(report)
    esp_tree = work / "esp"
    for place in places.esp[:1]:
        esp_tree.mkdir()
        _mcopy(path, place, esp_tree)
    files, esp = _sizes(tree), _sizes(esp_tree) if esp_tree.exists() else {}
    lines = [*_lines(tree, files), *_lines(esp_tree, esp)]
    return Medium(
        path=path,
        kind="iso",
        size=path.stat().st_size,
        volume_id=volume_id,
        files=files,
        esp=esp,
        ways=tuple(places.ways(esp)),
        loaders=tuple(_loaders(files, esp, lines)),
        entries=tuple(_entries(lines, volume_id, files, esp)),
        checks=(*_checks(tree, files), *_beside(path)),
        shared=_shared(tree, files),
        squashfs=_squashfs(tree, files),
    )


def arches_of(path: Path, work: Path) -> list[str]:
    """The architectures whose UEFI starts an ISO, by its EFI system partition; ``work`` is an empty folder."""
    _volume(path)
    places = _Places.of(_xorriso(path, "-report_el_torito", "plain", "-report_system_area", "plain"))
    for place in places.esp[:1]:
        _mcopy(path, place, work)
    return sorted({arch for way in places.ways(_sizes(work)) for arch in way.arches})


def _folder(path: Path) -> Medium:
    files = _sizes(path)
    if not any(name in files for name in SHARED):
        message = f"{path} is no folder of a live system: it has none of {', '.join(SHARED)}"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="name an ISO, or a folder with these files")
    lines = list(_lines(path, files))
    return Medium(
        path=path,
        kind="folder",
        size=sum(files.values()),
        files=files,
        loaders=tuple(_loaders(files, {}, lines)),
        entries=tuple(_entries(lines, "", files, {})),
        checks=tuple(_checks(path, files)),
        shared=_shared(path, files),
        squashfs=_squashfs(path, files),
    )


def _volume(path: Path) -> str:
    """The volume id. Raises ``BAD_ARCHIVE`` for what is no ISO or shorter than its header says (ECMA-119, 8.4)."""
    with path.open("rb") as stream:
        stream.seek(_DESCRIPTOR)
        header = stream.read(_BLOCK)
    if len(header) < _BLOCK or header[:6] != b"\x01CD001":
        hint = "name an ISO image, or a folder with a kernel, an initramfs and a squashfs"
        raise StagewrightError(Reason.BAD_ARCHIVE, f"{path} is no ISO 9660 image", hint=hint)
    (blocks,) = struct.unpack_from("<I", header, 80)
    missing = blocks * _BLOCK - path.stat().st_size
    if missing > 0:
        message = f"{path} is not whole: its last {missing} bytes are missing"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="copy or download it again")
    return header[40:72].decode(errors="replace").rstrip()


@dataclass(frozen=True)
class _Places:
    """Where firmware finds something to start: offsets of EFI system partitions, and ways as xorriso reports them."""

    esp: tuple[int, ...]
    cd: tuple[str, ...]
    efi_partition: bool
    bios_sector: str

    @classmethod
    def of(cls, report: str) -> _Places:
        images = re.findall(r"^El Torito boot img :\s+(\d+)\s+(BIOS|UEFI)\s+y\s.*?(\d+)$", report, re.MULTILINE)
        types = re.findall(r"^GPT type GUID\s+:\s+(\d+)\s+(\S+)", report, re.MULTILINE)
        starts = dict(re.findall(r"^GPT start and size\s*:\s+(\d+)\s+(\d+)", report, re.MULTILINE))
        partitions = [int(starts[number]) * 512 for number, kind in types if kind == _ESP and number in starts]
        partitions += [
            int(start) * 512
            for kind, start in re.findall(r"^MBR partition\s+:\s+\d+\s+\S+\s+(0xef)\s+(\d+)", report, re.MULTILINE)
        ]
        summary = "".join(re.findall(r"^System area summary:(.*)$", report, re.MULTILINE))
        sector = next((name for name in ("grub2-mbr", "isohybrid") if name in summary), "")
        efi = [int(block) * _BLOCK for _, platform, block in images if platform == "UEFI"]
        return cls(
            tuple(dict.fromkeys([*efi, *partitions])), tuple(kind for _, kind, _ in images), bool(partitions), sector
        )

    def ways(self, esp: Mapping[str, int]) -> Iterator[Way]:
        """The ways that have something behind them; an EFI system partition without a program is none."""
        programs = [name for name in esp if re.fullmatch(r"EFI/BOOT/BOOT\w+\.EFI", name, re.IGNORECASE)]
        arches = tuple(sorted({str(EfiArch.starts(name) or name.rpartition("/")[2]) for name in programs}))
        if "UEFI" in self.cd and arches:
            yield Way("uefi", "cd", "El Torito image with an EFI system partition", arches)
        if self.efi_partition and arches:
            yield Way("uefi", "usb", "EFI system partition in the partition table", arches)
        if "BIOS" in self.cd:
            yield Way("bios", "cd", "El Torito boot image")
        if self.bios_sector:
            yield Way("bios", "usb", f"first sector ({self.bios_sector})")


def _xorriso(path: Path, *words: str | Path) -> str:
    """Ask xorriso about an ISO; what it says is its standard output. Raises ``BAD_ARCHIVE``."""
    try:
        return run(["xorriso", "-no_rc", "-report_about", "FAILURE", "-indev", path, *words]).stdout
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        message = f"{path} cannot be read as an ISO image"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, detail=error.detail, hint="copy it again") from error


def _mcopy(path: Path, offset: int, target: Path) -> None:
    """Copy all files of an EFI system partition out. One that mtools cannot read is told as a broken image."""
    try:
        run(["mcopy", "-s", "-n", "-m", "-i", f"{path}@@{offset}", "::*", target], env={"MTOOLS_SKIP_CHECK": "1"})
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        message = f"the EFI system partition of {path} cannot be read"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, detail=error.detail, hint="copy it again") from error


def _sizes(tree: Path) -> dict[str, int]:
    """Regular files below a folder with their sizes; links are not followed."""
    found = {}
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(tree))] = path.stat().st_size
    return dict(sorted(found.items()))


def _lines(tree: Path, files: Iterable[str]) -> Iterator[Line]:
    """The lines of all boot menus among files."""
    for name in files:
        if is_menu(name):
            yield from read_menu(name, (tree / name).read_text(errors="replace", encoding="utf-8"))
        elif re.fullmatch(r"EFI/(BOOT|Linux)/[^/]+\.EFI", name, re.IGNORECASE):
            line = unified(name, (tree / name).read_bytes())
            if line:
                yield line


def _entries(
    lines: Sequence[Line], volume_id: str, files: Mapping[str, int], esp: Mapping[str, int]
) -> Iterator[Entry]:
    """The lines, each once even if its file lies in both file systems, with their traps."""
    known = [*files, *esp]
    for line in dict.fromkeys(lines):
        traps = tuple(traps_of(line, volume_id, known))
        yield Entry(line.file, line.title, line.kernel, line.initramfs, line.arguments, traps)


def _loaders(files: Mapping[str, int], esp: Mapping[str, int], lines: Sequence[Line]) -> Iterator[str]:
    """Boot loaders, by the files that they have."""
    names = {name.lower() for name in (*files, *esp)}
    if "loader/loader.conf" in names:
        yield "systemd-boot"
    if any(name.endswith("grub.cfg") for name in names):
        yield "grub"
    if any(name.endswith("isolinux.bin") for name in names):
        yield "isolinux"
    if any("pxelinux.cfg/" in name for name in names):
        yield "pxelinux"
    if any(line.kernel == line.file for line in lines):
        yield "uki"
    if any(name.endswith(".ipxe") for name in names):
        yield "ipxe"


def _checks(tree: Path, files: Mapping[str, int]) -> Iterator[Check]:
    """The lists of digests on a medium, against its files."""
    for name in (*_SUMS, "DIGESTS"):
        if name in files:
            yield _check(name, (tree / name).read_text(errors="replace", encoding="utf-8"), tree)


def _beside(path: Path) -> Iterator[Check]:
    """The lists of digests that lie beside an ISO."""
    for suffix in ("DIGESTS", "sha256"):
        beside = path.with_name(f"{path.name}.{suffix}")
        if beside.is_file():
            yield _check(beside.name, beside.read_text(errors="replace", encoding="utf-8"), path.parent, only=path.name)


def _check(name: str, text: str, folder: Path, only: str = "") -> Check:
    """Compare files with a list as sha512sum(1) and its like write it; a path that leads outside is wrong by itself."""
    listed: dict[str, list[str]] = {}
    for digest, file in re.findall(r"^([0-9a-f]{40,128}) [ *](?:\./)?(.+)$", text, re.MULTILINE):
        if not only or file == only:
            listed.setdefault(file, []).append(digest)
    wrong = [file for file, digests in listed.items() if not _fits(folder, file, digests)]
    return Check(name, len(listed), tuple(wrong))


def _fits(folder: Path, file: str, digests: Sequence[str]) -> bool:
    path = folder / file
    if ".." in Path(file).parts or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return False
    names = {name for digest in digests for name in _DIGEST.get(len(digest), ())}
    found = {digest for name in names for digest in [digest_of(path, name)]}
    return all(digest in found for digest in digests)


def _shared(tree: Path, files: Mapping[str, int]) -> dict[str, str]:
    return {name: digest_of(tree / name, "sha512") for name in SHARED if name in files}


def _squashfs(tree: Path, files: Mapping[str, int]) -> str:
    """What unsquashfs says of the image: its compression and block size. Empty without one."""
    if SHARED[-1] not in files:
        return ""
    done = run(["unsquashfs", "-s", tree / SHARED[-1]], check=False)
    words = dict(re.findall(r"^(Compression|Block size) (\S+)", done.stdout, re.MULTILINE))
    return f"{words.get('Compression', '?')}, blocks of {words.get('Block size', '?')}" if done.code == 0 else "broken"
