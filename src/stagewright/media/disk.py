"""Disk images for UEFI machines: an EFI system partition and a root file system, without loop devices.

The output is reproducible: identifiers are computed from a name, times from the time stamp. mkfs.ext4 copies change and
access times of the folder (measured: the only bytes in which two images differ); debugfs sets them afterwards.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.media.iso import EFI_SYSTEM_PARTITION, make_esp
from stagewright.root.devices import DeviceNode
from stagewright.root.sandbox import run_host_program
from stagewright.run import run

MIB = 1 << 20

ROOT_PARTITIONS: Mapping[Arch, str] = {
    Arch.AMD64: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
}
"""Partition type of the root, by architecture (Discoverable Partitions Specification)."""

_NAMES = uuid.UUID("7d0f9c39-93cf-4dc5-a9a2-9a0a5e40a5b2")  # a random constant
_SECTOR = 512
_FIRST = 1 * MIB  # start of the first partition; as many bytes stay free at the end for the backup table
_RESERVED = 10  # highest inode that ext4 reserves; number 2 is the root
_MKE2FS = """[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
blocksize = 4096
inode_size = 256
inode_ratio = 16384

[fs_types]
ext4 = {
features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}
"""
"""Replaces the host's mke2fs.conf(5). Kernels and boot loaders of the last ten years support these features."""

_FREE = re.compile(r"Free inodes: ([\d, -]+)")


@dataclass(frozen=True)
class DiskLayout:
    """Sizes of a disk and its EFI system partition in bytes. Identifiers are computed from ``name``."""

    name: str
    arch: Arch
    size: int
    esp: int

    def identifier(self, what: str) -> str:
        """Return a GUID that is constant for this disk's name and ``what``."""
        return str(uuid.uuid5(_NAMES, f"{self.name}\0{what}"))

    @property
    def root(self) -> int:
        """Size of the root partition in bytes."""
        return self.size - self.esp - 2 * _FIRST

    @property
    def root_start(self) -> int:
        """Offset of the root partition in bytes."""
        return _FIRST + self.esp

    def script(self) -> str:
        """Return the partition table as input for sfdisk(8)."""
        parts = (
            ("esp", EFI_SYSTEM_PARTITION, _FIRST, self.esp),
            ("root", ROOT_PARTITIONS[self.arch], self.root_start, self.root),
        )
        lines = [
            f"start={start // _SECTOR}, size={size // _SECTOR}, type={kind}, uuid={self.identifier(name)}, name={name}"
            for name, kind, start, size in parts
        ]
        head = ["label: gpt", f"label-id: {self.identifier('disk')}", "unit: sectors", ""]
        return "\n".join([*head, *lines]) + "\n"


def make_disk(
    layout: DiskLayout,
    root: Path,
    efi_files: Mapping[str, Path],
    target: Path,
    work: Path,
    epoch: int,
    log: IO[str],
    devices: Sequence[DeviceNode] = (),
) -> None:
    """Write a raw image with the files of the EFI system partition and a root. ``work`` takes temporary files.

    The root also gets ``devices``.
    """
    with target.open("wb") as stream:
        stream.truncate(layout.size)
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", target], stdin=layout.script().encode())
    number = layout.identifier("esp file system")[:8]
    esp = make_esp(efi_files, work / "esp.img", work / "esp", epoch, log, number, least=layout.esp)
    _place(esp, target, _FIRST, log)
    file_system = work / "root.img"
    make_ext4(layout, root, file_system, epoch, log, devices)
    _place(file_system, target, layout.root_start, log)


def make_ext4(
    layout: DiskLayout, root: Path, target: Path, epoch: int, log: IO[str], devices: Sequence[DeviceNode] = ()
) -> None:
    """Write an ext4 file system that contains the files of a folder, and device nodes."""
    with target.open("wb") as stream:
        stream.truncate(layout.root)
    config = target.with_name(f"{target.name}.conf")
    config.write_text(_MKE2FS, encoding="utf-8")
    env = {"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch), "MKE2FS_CONFIG": str(config)}
    options = f"hash_seed={layout.identifier('directories')},lazy_itable_init=1"
    words = ["mkfs.ext4", "-q", "-F", "-L", "root", "-U", layout.identifier("file system"), "-E", options]
    run_host_program([*words, "-d", root, target], reads=[root, config], writes=[target], env=env, log=log)
    if devices:
        _change(target, "".join(map(_mknod, devices)), env)
    fields = ("atime", "ctime", "crtime")
    _change(target, "".join(f"sif <{inode}> {field} @{epoch}\n" for inode in _inodes(target) for field in fields), env)


def _mknod(node: DeviceNode) -> str:
    """Return the commands of debugfs(8) for a device node."""
    folder, _, name = node.path.rpartition("/")
    mode = (0o020000 if node.type == "c" else 0o060000) | node.mode
    numbers = f"{node.type} {node.major} {node.minor}"
    fields = {"mode": f"0{mode:o}", "uid": node.uid, "gid": node.gid}
    changes = "".join(f'sif "{node.path}" {field} {value}\n' for field, value in fields.items())
    return f'cd "{folder or "/"}"\nmknod "{name}" {numbers}\n{changes}'


def _change(image: Path, script: str, env: Mapping[str, str]) -> None:
    """Run commands of debugfs(8) on a file system."""
    words = ["debugfs", "-w", "-f", "-", str(image)]
    said = run_host_program(words, writes=[image], stdin=script.encode(), env=env).stderr
    if wrong := said.splitlines()[1:]:  # debugfs prints its version first, and exits with 0 after errors too
        raise StagewrightError(
            Reason.COMMAND_FAILED, "debugfs cannot change the file system", detail="\n".join(wrong[:8])
        )


def _inodes(image: Path) -> Iterator[int]:
    """Return the inodes in use, from the bitmaps of a file system."""
    text = run_host_program(["dumpe2fs", image], reads=[image]).stdout
    total = re.search(r"^Inode count: +(\d+)", text, re.MULTILINE)
    assert total, "dumpe2fs prints it always"
    free: set[int] = set()
    for ranges in _FREE.findall(text):
        for part in filter(None, ranges.replace(" ", "").split(",")):
            first, _, last = part.partition("-")
            free.update(range(int(first), int(last or first) + 1))
    return (number for number in range(2, int(total[1]) + 1) if number not in free and not 2 < number <= _RESERVED)


def _place(part: Path, image: Path, start: int, log: IO[str]) -> None:
    """Copy a partition into the image, keep holes sparse, and remove the partition's file."""
    words = ["dd", f"if={part}", f"of={image}", "bs=1M", f"seek={start // MIB}", "conv=sparse,notrunc", "status=none"]
    run(words, log=log)
    part.unlink()
