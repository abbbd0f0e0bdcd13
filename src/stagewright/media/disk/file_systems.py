"""Programs that make file systems from folders, on files and without loop devices.

Equal folders make equal files, except for btrfs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.contents import Contents
from stagewright.media.disk.ext4 import make_ext4
from stagewright.media.disk.filesystem_types import FileSystem
from stagewright.media.disk.xfs import make_xfs
from stagewright.root.sandbox import run_host_program
from stagewright.run import run


def make_file_system(kind: FileSystem, contents: Contents, target: Path, size: int) -> None:
    """Write a file system of a size in bytes to ``target``. The size of read-only ones comes from the content.

    Raises: BUILD_FAILED if the root has device nodes outside of /dev that the file system cannot have.
    """
    if kind not in _WITH_DEVICES and (lost := [node.path for node in contents.devices if node.path[:5] != "/dev/"]):
        message = f"{kind}: its program cannot make the device nodes of the root ({', '.join(lost[:5])})"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="use ext4 or squashfs, or remove them from the root")
    _MAKERS[kind](contents, target, size)


def _erofs(contents: Contents, target: Path, size: int) -> None:
    assert contents.tree, "a read-only file system has files"
    words = ["mkfs.erofs", "-zlz4hc", "-U", contents.uuid, str(target), str(contents.tree)]
    _run(words, contents, target)


def _squashfs(contents: Contents, target: Path, size: int) -> None:
    assert contents.tree, "a read-only file system has files"
    words = ["mksquashfs", str(contents.tree), str(target), "-comp", "zstd", "-Xcompression-level", "9", "-b", "1M"]
    words += ["-processors", str(contents.cores), "-noappend", "-no-progress", "-no-recovery"]
    words += [word for node in contents.devices for word in ("-p", node.pseudo())]
    _run(words, contents, target)


def _btrfs(contents: Contents, target: Path, size: int) -> None:
    """Write btrfs, which is not the same again: mkfs.btrfs 6.2 takes inode numbers and times of this computer."""
    with target.open("wb") as stream:
        stream.truncate(size)
    words = ["mkfs.btrfs", "--quiet", "--force", "--uuid", contents.uuid, "--label", contents.label]
    words += ["--rootdir", str(contents.tree)] if contents.tree else []
    reads = [contents.tree] if contents.tree else []
    run_host_program([*words, target], reads=reads, writes=[target], log=contents.log)


def _swap(contents: Contents, target: Path, size: int) -> None:
    with target.open("wb") as stream:
        stream.truncate(size)
    target.chmod(0o600)
    run(["mkswap", "--quiet", "--uuid", contents.uuid, "--label", contents.label, target], log=contents.log)


def _run(words: list[str], contents: Contents, target: Path) -> None:
    target.touch()
    env = {"SOURCE_DATE_EPOCH": str(contents.epoch)}
    reads = [contents.tree] if contents.tree else []
    run_host_program(words, reads=reads, writes=[target], env=env, log=contents.log)


_MAKERS: Mapping[FileSystem, Callable[[Contents, Path, int], None]] = {
    FileSystem.EXT4: make_ext4,
    FileSystem.XFS: make_xfs,
    FileSystem.BTRFS: _btrfs,
    FileSystem.EROFS: _erofs,
    FileSystem.SQUASHFS: _squashfs,
    FileSystem.SWAP: _swap,
}
_WITH_DEVICES = (FileSystem.EXT4, FileSystem.XFS, FileSystem.SQUASHFS)
