"""ext4 file systems with the files of a folder, without loop devices.

The output is reproducible: identifiers are given, times come from the time stamp. mkfs.ext4 copies change and access
times of the folder (measured: the only bytes in which two images differ); debugfs sets them afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.contents import Contents
from stagewright.root.devices import DeviceNode
from stagewright.root.sandbox import run_host_program

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


def make_ext4(contents: Contents, target: Path, size: int) -> None:
    """Write an ext4 file system of a size in bytes with the files of a folder, and device nodes."""
    epoch = contents.epoch
    with target.open("wb") as stream:
        stream.truncate(size)
    config = target.with_name(f"{target.name}.conf")
    config.write_text(_MKE2FS, encoding="utf-8")
    env = {"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch), "MKE2FS_CONFIG": str(config)}
    options = f"hash_seed={contents.identifier('directories')},lazy_itable_init=1"
    words = ["mkfs.ext4", "-q", "-F", "-L", contents.label, "-U", contents.uuid, "-E", options]
    words += ["-d", str(contents.tree)] if contents.tree else []
    reads = [*([contents.tree] if contents.tree else []), config]
    run_host_program([*words, target], reads=reads, writes=[target], env=env, log=contents.log)
    if contents.devices:
        _change(target, "".join(map(_mknod, contents.devices)), env)
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
