"""Disk images by a layout: the contents first, then sizes, table and partitions. No loop device is used.

The order follows from what depends on what: verity partitions need their data, boot files the root hash, the EFI system
partition the boot files, and the table the sizes of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from stagewright.arch import Machine
from stagewright.media.disk import partition_table
from stagewright.media.disk.bios import BiosCode
from stagewright.media.disk.contents import Contents, identifier
from stagewright.media.disk.definitions import Definition, has_slots
from stagewright.media.disk.file_systems import make_file_system
from stagewright.media.disk.filesystem_types import MIB, FileSystem
from stagewright.media.disk.luks import luks_uuid
from stagewright.media.disk.partition_table import Partition, Sizes
from stagewright.media.disk.setting_values import Verity
from stagewright.media.disk.verity_partition import VerityPair, make_hash_partition
from stagewright.media.disk.views import devices_below, hidden_folders, view_of
from stagewright.media.iso import esp_size, make_esp
from stagewright.root.budget import measure
from stagewright.root.devices import DeviceNode
from stagewright.run import run

ROOT_DEVICE = "/dev/mapper/root"
"""The root behind dm-verity. systemd's generators and Stagewright's dracut module give it this name."""


@dataclass(frozen=True)
class DiskSource:
    """The parts of a disk.

    ``name`` is the file name of the image. ``root`` is a mounted root.
    ``image_id`` and ``image_version`` replace %M and %A in labels. ``work`` is a folder for temporary files, ``epoch``
    the time stamp in seconds since 1970.
    """

    name: str
    machine: Machine
    definitions: Sequence[Definition]
    root: Path
    devices: Sequence[DeviceNode]
    image_id: str
    image_version: str
    work: Path
    epoch: int
    cores: int
    log: IO[str]

    @property
    def identity(self) -> str:
        """The name that identifiers are computed from.

        All versions of a system with two slots have the same one: a machine that was updated keeps its other
        partitions, and the new version finds them by their identifiers.
        """
        return f"{self.image_id} {self.machine.arch}" if has_slots(self.definitions) else self.name

    def label(self, one: Definition) -> str:
        """Return the label of a partition."""
        if one.label is None:
            return one.name
        words = {"%M": self.image_id, "%A": self.image_version, "%%": "%"}
        text, rest = "", one.label
        while rest:
            piece = words.get(rest[:2], rest[0])
            text, rest = text + piece, rest[2 if rest[:2] in words else 1 :]
        return text[:36]

    def uuid(self, one: Definition) -> str:
        """Return the UUID of a partition without Verity=."""
        return one.uuid or identifier(self.identity, one.name)

    def luks_uuid(self, one: Definition) -> str:
        """Return the UUID of the LUKS header of an encrypted partition."""
        return luks_uuid(self.uuid(one))

    def device(self, one: Definition) -> str:
        """Return the device with the file system of a partition, as fstab(5) names it."""
        if one.verity is Verity.DATA:
            return ROOT_DEVICE
        return f"/dev/mapper/luks-{self.luks_uuid(one)}" if one.is_encrypted else f"PARTUUID={self.uuid(one)}"

    @property
    def root_definition(self) -> Definition:
        """The partition with the root."""
        return next(one for one in self.definitions if one.is_root)

    def root_arguments(self, pair: VerityPair | None = None) -> list[str]:
        """Return the kernel arguments that find the root. ``pair`` is its verity pair."""
        one = self.root_definition
        mode = "ro" if one.is_fixed else "rw"
        options = [f"rootflags={one.mount.options}"] if one.mount and one.mount.options else []
        if pair:
            return [f"roothash={pair.root_hash}", f"root={ROOT_DEVICE}", *options, mode]
        unlock = [f"rd.luks.uuid={self.luks_uuid(one)}"] if one.is_encrypted else []
        return [*unlock, f"root={self.device(one)}", *options, mode]

    def fstab(self) -> str:
        """Return the lines of fstab(5)."""
        return (
            "\n".join(["# See fstab(5).", *(line for one in self.definitions if (line := self._fstab_line(one)))])
            + "\n"
        )

    def crypttab(self) -> str:
        """Return the lines of crypttab(5): the encrypted partitions that the initramfs does not open."""
        found = [one for one in self.definitions if one.is_encrypted and not one.is_root]
        lines = [f"luks-{self.luks_uuid(one)}\tPARTUUID={self.uuid(one)}\tnone\tluks" for one in found]
        return "".join(f"{line}\n" for line in ["# See crypttab(5).", *lines]) if lines else ""

    def esp(self, files: Mapping[str, Path], size: int) -> Path:
        """Make the EFI system partition, of a size in bytes, with files by path."""
        number = identifier(self.identity, "esp file system")[:8]
        return make_esp(files, self.work / "esp.img", self.work / "esp", self.epoch, self.log, number, least=size)

    def _fstab_line(self, one: Definition) -> str:
        device = self.device(one)
        if one.format is FileSystem.SWAP:
            return f"{device}\tnone\tswap\tsw\t0 0"
        if not one.mount or not one.format:
            return ""
        usual = "umask=0077,nofail" if one.is_esp else "ro" if one.is_fixed else "noatime"
        usual += ",x-systemd.growfs" if one.is_encrypted and one.grows else ""
        check = 0 if one.is_fixed or not one.format.check_pass else 1 if one.is_root else one.format.check_pass
        return f"{device}\t{one.mount.path}\t{one.format}\t{one.mount.options or usual}\t0 {check}"


BootFiles = Callable[[Sequence[str]], Mapping[str, Path]]
"""Returns the files of the EFI system partition by path, for kernel arguments that find the root."""


@dataclass
class DiskWriter:
    """Writes one disk. ``parts`` are finished contents of partitions by name, ``pairs`` verity pairs by match key."""

    source: DiskSource
    parts: dict[str, Path] = field(default_factory=dict)
    pairs: dict[str, VerityPair] = field(default_factory=dict)
    contents: dict[str, Contents] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)

    bios: BiosCode | None = None

    def write(self, boot_files: BootFiles, size: int | None, target: Path) -> list[Partition]:
        """Write the image, of a size in bytes or as small as possible. Raises: BUILD_FAILED if it is too small."""
        source = self.source
        for one in source.definitions:
            self._prepare(one)
        for one in source.definitions:
            if one.verity is Verity.HASH:
                self._prove(one)
        root = source.root_definition
        pair = self.pairs.get(root.verity_match_key or "") if root.verity is Verity.DATA else None
        files = boot_files(source.root_arguments(pair))
        self.least |= {one.name: esp_size(files) for one in source.definitions if one.is_esp}
        self.least |= {one.name: self.bios.size for one in source.definitions if self.bios and one.is_bios_boot}
        sizes = Sizes.of(source.definitions, self.least, size)
        starts = sizes.starts()
        partitions = [
            Partition(one, starts[one.name], sizes.found[one.name], self._uuid(one), source.label(one))
            for one in source.definitions
        ]
        with target.open("wb") as stream:
            stream.truncate(sizes.disk if size is None else size // MIB * MIB)
        table = partition_table.script(partitions, source.machine, identifier(source.identity, "disk"))
        run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", target], stdin=table.encode())
        for partition in partitions:
            if part := self._part(partition, files):
                place(part, target, partition.start, source.log)
            elif self.bios and partition.definition.is_bios_boot:
                self.bios.write(target, partition.start, partition.size)
        return partitions

    def _prepare(self, one: Definition) -> None:
        """Find the content of a partition and its smallest size; make it if its size comes from the content."""
        source = self.source
        if one.format is None or one.is_esp:
            return
        hidden = hidden_folders(one, source.definitions)
        folder = source.work / one.name
        folder.mkdir()
        tree = view_of(source.root, one, hidden, folder, source.epoch)
        devices = devices_below(source.devices, one, hidden)
        made = Contents(
            source.identity, one.name, tree, devices, one.subvolumes, source.epoch, source.cores, source.log
        )
        self.contents[one.name] = made
        if one.format.is_read_only:
            self.parts[one.name] = folder / "part.img"
            make_file_system(one.format, made, folder / "part.img", 0)
            self.least[one.name] = (folder / "part.img").stat().st_size
        else:
            self.least[one.name] = one.format.room_for(measure(tree).total()) if tree else one.format.least

    def _prove(self, one: Definition) -> None:
        """Make the hash partition of a data partition."""
        (data,) = (
            other
            for other in self.source.definitions
            if other.verity is Verity.DATA and other.verity_match_key == one.verity_match_key
        )
        part = self.source.work / f"{one.name}.verity"
        assert one.verity_match_key, "the layout was checked"
        self.pairs[one.verity_match_key] = make_hash_partition(self.parts[data.name], part)
        self.parts[one.name] = part
        self.least[one.name] = part.stat().st_size

    def _uuid(self, one: Definition) -> str:
        if one.verity is Verity.OFF:
            return self.source.uuid(one)
        pair = self.pairs[one.verity_match_key or ""]
        return pair.data_uuid if one.verity is Verity.DATA else pair.hash_uuid

    def _part(self, partition: Partition, files: Mapping[str, Path]) -> Path | None:
        """Return the file with the content of a partition; None for an empty partition."""
        one, source = partition.definition, self.source
        if one.is_esp:
            return source.esp(files, partition.size)
        if one.name in self.parts:
            return self.parts[one.name]
        if one.format is None:
            return None
        part = source.work / f"{one.name}.img"
        make_file_system(one.format, self.contents[one.name], part, partition.size)
        return part


def place(part: Path, image: Path, start: int, log: IO[str]) -> None:
    """Copy a partition into the image, keep holes sparse, and remove the partition's file."""
    words = ["dd", f"if={part}", f"of={image}", "bs=1M", f"seek={start // MIB}", "conv=sparse,notrunc", "status=none"]
    run(words, log=log)
    part.unlink()
