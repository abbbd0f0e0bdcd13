"""Disk images whose partitions systemd-repart makes, a program of a named root (systemd-repart(8)).

It runs with ``--offline=yes``, so without loop devices, and gets the definitions of the layout with our identifiers.
Then Stagewright adds what depends on the finished partitions: the EFI system partition and GRUB's code for BIOS.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.bios import BiosCode
from stagewright.media.disk.contents import identifier
from stagewright.media.disk.definitions import Definition
from stagewright.media.disk.filesystem_types import MIB
from stagewright.media.disk.image import BootFiles, DiskSource, place
from stagewright.media.disk.luks import HEADER, read_uuid
from stagewright.media.disk.partition_table import SECTOR, Sizes
from stagewright.media.disk.partition_types import guid_of
from stagewright.media.disk.setting_values import Verity
from stagewright.media.disk.verity_partition import VerityPair
from stagewright.media.disk.views import early_folders, hidden_folders
from stagewright.media.iso import esp_size
from stagewright.root import files
from stagewright.root.budget import measure
from stagewright.root.devices import DeviceNode
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.run import run

PROGRAM = "systemd-repart"
LEAST_VERSION = 254
"""The first version of systemd-repart with ``--offline=``, and with ``ExcludeFiles=``."""

ROOT, WORK = "/mnt/root", "/mnt/work"
"""Where the tools find the root of the image, and the folder for their work."""

_IMAGE = "disk.raw"
_NO_HASH = VerityPair("0" * 64)
_OF_MKFS = "SYSTEMD_REPART_MKFS_OPTIONS_"  # environment variables, docs/ENVIRONMENT.md of systemd
_OPTIONS = {
    f"{_OF_MKFS}EROFS": "-zlz4hc",
    f"{_OF_MKFS}SQUASHFS": "-comp zstd -Xcompression-level 9 -b 1M -no-progress",
}
_PACKAGES = {
    PROGRAM: "systemd-repart (Debian), sys-apps/systemd (Gentoo)",
    "mkfs.ext4": "e2fsprogs (Debian), sys-fs/e2fsprogs (Gentoo)",
    "mkfs.xfs": "xfsprogs (Debian), sys-fs/xfsprogs (Gentoo)",
    "mkfs.btrfs": "btrfs-progs (Debian), sys-fs/btrfs-progs (Gentoo)",
    "mkfs.erofs": "erofs-utils (Debian), sys-fs/erofs-utils (Gentoo)",
    "mksquashfs": "squashfs-tools (Debian), sys-fs/squashfs-tools (Gentoo)",
    "mkswap": "util-linux (Debian), sys-apps/util-linux (Gentoo)",
}
_FOLDERS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


def mount_points(folder: Path) -> list[Bind]:
    """Return mounts that make the mount points of the tools in their root. ``folder`` is a new folder."""
    nothing = folder / "nothing"
    nothing.mkdir()
    return [Bind(nothing, ROOT), Bind(nothing, WORK)]


def missing_for_repart(tools: Root, definitions: Sequence[Definition], name: str) -> Iterator[MissingRequirement]:
    """Yield what a root lacks to make these partitions. ``name`` is that of its stage or seed."""
    formats = {one.format for one in definitions if one.format and not one.is_esp}
    wanted = {PROGRAM, *(program for kind in formats for program in kind.programs if program in _PACKAGES)}
    for program in sorted(wanted):
        if not any(files.exists(tools.path, f"{folder}/{program}") for folder in _FOLDERS):
            yield MissingRequirement(f"{program} not found in {name!r}", f"add its package: {_PACKAGES[program]}")
            if program == PROGRAM:
                return
    found = re.match(r"systemd (\d+)", tools.ask(PROGRAM, "--version"))
    if not found or int(found[1]) < LEAST_VERSION:
        what = (
            f"{name!r} has {found[0] if found else 'an unknown systemd'}, and systemd-repart {LEAST_VERSION} or newer"
        )
        yield MissingRequirement(f"{what} is needed", "use a root with a newer one, such as Debian trixie's")


class _Entry(TypedDict):
    """A partition in the output of sfdisk(8). Numbers are sectors."""

    start: int
    size: int
    uuid: str


def definition_text(source: DiskSource, one: Definition, least: int) -> str:
    """Return the definition of a partition for systemd-repart. ``least`` is its smallest size in bytes."""
    lines = [f"Type={guid_of(one.type, source.machine)}", f"Label={source.label(one).replace('%', '%%')}"]
    if one.verity is Verity.OFF:
        lines += [f"UUID={source.uuid(one)}"]
    else:
        lines += [f"Verity={one.verity}", f"VerityMatchKey={one.verity_match_key}"]
    lines += [f"Weight={one.weight}", *(f"{name}={value}" for name, value in _sizes(one, least))]
    for name, is_set in (("GrowFileSystem", one.grows), ("ReadOnly", one.read_only or one.is_fixed)):
        lines += [f"{name}={'yes' if is_set else 'no'}"]
    lines += ["NoAuto=yes"] if one.no_auto else []
    lines += _content(source, one) if one.format and not one.is_esp else []
    return "".join(f"{line}\n" for line in ["[Partition]", *lines])


def _sizes(one: Definition, least: int) -> Iterator[tuple[str, object]]:
    if least := max(one.size_min or 0, least):
        yield "SizeMinBytes", -(-least // MIB) * MIB
    if one.size_max is not None:
        yield "SizeMaxBytes", max(one.size_max, MIB)
    if one.is_fixed:
        yield "Minimize", "best"


def _content(source: DiskSource, one: Definition) -> Iterator[str]:
    yield f"Format={one.format}"
    yield from (f"CopyFiles={copy.source}:{copy.target}" for copy in one.copy_files)
    hidden = hidden_folders(one, source.definitions)
    yield from (f"ExcludeFiles={path.rstrip('/')}/" for path in hidden)
    folders = [*one.make_directories, *early_folders(Tree(source.root, links=False), hidden)]
    yield from (f"MakeDirectories={path}" for path in folders)
    yield from (f"Subvolumes={path}" for path in one.subvolumes)
    if one.is_encrypted:
        yield f"Encrypt={one.encrypt}"


def check_devices(devices: Sequence[DeviceNode]) -> None:
    """Raise ``BUILD_FAILED`` for device nodes outside of /dev, which the tools cannot make."""
    if lost := [node.path for node in devices if not node.path.startswith("/dev/")]:
        what = f"systemd-repart cannot make the device nodes of the root here ({', '.join(lost[:5])})"
        raise StagewrightError(Reason.BUILD_FAILED, what, hint="remove `repart`, or remove them from the root")


@dataclass(frozen=True)
class RepartWriter:
    """Writes one disk. ``tools`` is a mounted root with systemd-repart, ``key`` a file with a passphrase, or None."""

    source: DiskSource
    tools: Root
    key: Path | None = None
    bios: BiosCode | None = None

    def write(self, boot_files: BootFiles, size: int | None, target: Path) -> None:
        """Write the image, of a size in bytes or as small as possible. Raises: BUILD_FAILED if it is too small."""
        source = self.source
        check_devices(source.devices)
        work = source.work / "repart"
        definitions = work / "definitions"
        definitions.mkdir(parents=True)
        verity = source.root_definition.verity is Verity.DATA
        esp = esp_size(boot_files(source.root_arguments(_NO_HASH if verity else None)))
        least = {one.name: self._least(one, esp) for one in source.definitions}
        Sizes.of(source.definitions, {name: max(size, 1) for name, size in least.items()}, size)
        for number, one in enumerate(source.definitions):
            text = definition_text(source, one, least[one.name])
            (definitions / f"{number:02}-{one.name}.conf").write_text(text, encoding="utf-8")
        self._run(work, size)
        _take(work / _IMAGE, target)
        table = _table(target)
        files_of_esp = boot_files(source.root_arguments(self._pair(table) if verity else None))
        for one, entry in zip(source.definitions, table, strict=True):
            self._finish(one, entry, files_of_esp, target)

    def _least(self, one: Definition, esp: int) -> int:
        """Return the smallest size of a partition in bytes; 0 if systemd-repart computes it."""
        if one.is_esp:
            return esp
        if self.bios and one.is_bios_boot:
            return self.bios.size
        if one.format is None or one.is_fixed:
            return 0
        trees = [self.source.root / copy.source.lstrip("/") for copy in one.copy_files]
        size = one.format.room_for(sum(measure(tree).total() for tree in trees)) if trees else one.format.least
        return size + (HEADER if one.is_encrypted else 0)

    def _run(self, work: Path, size: int | None) -> None:
        """Run systemd-repart, which makes ``disk.raw``."""
        source = self.source
        words = [PROGRAM, "--offline=yes", "--empty=create", "--dry-run=no", "--no-pager", "--definitions"]
        words += [f"{WORK}/definitions", "--root", ROOT, f"--size={size // MIB * MIB if size else 'auto'}"]
        words += [f"--seed={identifier(source.identity, 'repart')}"]
        (work / "tmp").mkdir()
        copied = work / "key"
        if self.key:
            copied.touch(mode=0o600)
            copied.write_bytes(self._passphrase(self.key))
            words.append(f"--key-file={WORK}/key")
        binds = [Bind(source.root, ROOT), Bind(work, WORK, writable=True)]
        env = {"SOURCE_DATE_EPOCH": str(source.epoch), "TMPDIR": f"{WORK}/tmp", **_OPTIONS}
        env["E2FSPROGS_FAKE_TIME"] = str(source.epoch)
        seed = identifier(source.identity, "directories")  # mkfs.ext4 uses a random one otherwise
        env[f"{_OF_MKFS}EXT4"] = f"-E nodiscard,lazy_itable_init=1,hash_seed={seed}"
        try:
            self.tools.run(*words, f"{WORK}/{_IMAGE}", binds=binds, env=env)
        finally:
            with contextlib.suppress(OSError):
                copied.unlink()

    @staticmethod
    def _passphrase(file: Path) -> bytes:
        """Return the content of the user's file. Commands cannot read that file itself."""
        return file.read_bytes()

    def _pair(self, table: Sequence[_Entry]) -> VerityPair:
        """Return the root hash: the UUIDs of the partitions of the root are its halves."""
        root = self.source.root_definition
        found = {
            one.verity: uuid.UUID(entry["uuid"]).hex
            for one, entry in zip(self.source.definitions, table, strict=True)
            if one.verity_match_key == root.verity_match_key
        }
        return VerityPair(found[Verity.DATA] + found[Verity.HASH])

    def _finish(self, one: Definition, entry: _Entry, boot: Mapping[str, Path], target: Path) -> None:
        """Write content that is not by systemd-repart, and check the identifier of an encrypted partition."""
        source, start, size = self.source, entry["start"] * SECTOR, entry["size"] * SECTOR
        if one.is_esp:
            place(source.esp(boot, size), target, start, source.log)
        elif self.bios and one.is_bios_boot:
            self.bios.write(target, start, size)
        elif one.is_encrypted and read_uuid(target, start) != source.luks_uuid(one):
            what = f"{one.name}: the LUKS header of systemd-repart has another UUID than expected"
            raise StagewrightError(Reason.BUILD_FAILED, what, hint="use a root with another version of systemd")


def _take(made: Path, target: Path) -> None:
    """Move the image of the tools to its place. Raises: BUILD_FAILED unless it is a regular file."""
    if not stat.S_ISREG(made.lstat().st_mode):
        what = "systemd-repart of the named root made something else than a file"
        raise StagewrightError(Reason.BUILD_FAILED, what, hint="name another root in `repart`")
    made.replace(target)


def _table(image: Path) -> list[_Entry]:
    """Return the partitions of an image, in the order of the table."""
    found: list[_Entry] = json.loads(run(["sfdisk", "--json", image]).stdout)["partitiontable"]["partitions"]
    return found
