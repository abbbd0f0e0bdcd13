"""XFS with the files of a folder, without loop devices.

mkfs.xfs(8) of Debian 12 takes files by a prototype file, which has owners and modes but neither times nor extended
attributes, and no names with spaces. Stagewright writes the times into the inodes afterwards: without that, two images
differ in them alone (measured), and xfs_db(8) cannot write them. A root with anything that would be lost is refused.
Hard links become separate files.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.contents import Contents
from stagewright.root.devices import DeviceNode
from stagewright.root.sandbox import run_host_program

_SHOWN = 5
_ROOT_ONLY = ("trusted.overlay", "user.overlay")  # of overlayfs, not of the files
_KINDS = {stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}


def make_xfs(contents: Contents, target: Path, size: int) -> None:
    """Write an XFS file system of a size in bytes. Raises: BUILD_FAILED for files that it cannot keep as they are."""
    with target.open("wb") as stream:
        stream.truncate(size)
    words = ["mkfs.xfs", "-q", "-f", "-m", f"uuid={contents.uuid}", "-L", contents.label]
    reads: list[Path] = []
    if contents.tree:
        prototype = target.with_name(f"{target.name}.proto")
        lines = list(_Prototype(contents).lines())
        prototype.write_text("\n".join(["/dev/null", "0 0", *lines, "$", ""]), encoding="utf-8")
        words += ["-p", str(prototype)]
        reads = [contents.tree, prototype]
    run_host_program([*words, target], reads=reads, writes=[target], log=contents.log)
    _set_times(contents, target)


class _Prototype:
    """The lines of a prototype file (mkfs.xfs(8), option -p)."""

    def __init__(self, contents: Contents) -> None:
        assert contents.tree
        self.tree, self.lost = contents.tree, list[str]()
        self.devices: dict[str, list[DeviceNode]] = {}
        for node in contents.devices:
            self.devices.setdefault(node.path.rpartition("/")[0], []).append(node)

    def lines(self) -> Iterator[str]:
        """Yield the lines. Raises: BUILD_FAILED with the first files that would not be kept."""
        info = self.tree.lstat()
        yield f"d{_mode(info.st_mode)} {info.st_uid} {info.st_gid}"
        yield from self._folder("")
        if self.lost:
            message = f"xfs: its program cannot keep {len(self.lost)} files of the root as they are"
            detail = "\n".join(f"  {line}" for line in self.lost[:_SHOWN])
            hint = "use ext4, or remove these files and attributes in the root"
            raise StagewrightError(Reason.BUILD_FAILED, message, detail=detail, hint=hint)

    def _folder(self, folder: str) -> Iterator[str]:
        for entry in sorted(os.scandir(self.tree / folder.lstrip("/")), key=lambda one: os.fsencode(one.name)):
            path, info = f"{folder}/{entry.name}", entry.stat(follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(info.st_mode))
            if why := self._unfit(entry, kind):
                self.lost.append(f"{path!r}: {why}")
                continue
            head = f"{entry.name} {kind}{_mode(info.st_mode)} {info.st_uid} {info.st_gid}"
            if kind == "l":
                yield f"{head} {Path(entry.path).readlink()}"
            else:
                yield f"{head} {entry.path}" if kind == "-" else head
            if kind == "d":
                yield from self._folder(path)
                yield "$"
        for node in self.devices.get(folder, ()):
            name = node.path.rpartition("/")[2]
            yield f"{name} {node.type}{_mode(node.mode)} {node.uid} {node.gid} {node.major} {node.minor}"

    def _unfit(self, entry: os.DirEntry[str], kind: str | None) -> str:
        """Return why the program would not keep a file as it is, or ""."""
        if re.search(r"\s", entry.path.removeprefix(str(self.tree))) or entry.name in ("$", ":"):
            return "its name has a space"
        if kind is None:
            return "it is neither a file, folder, link nor pipe"
        if kind == "l" and re.search(r"\s", str(Path(entry.path).readlink())):
            return "its target has a space"
        names = [name for name in os.listxattr(entry.path, follow_symlinks=False) if not name.startswith(_ROOT_ONLY)]
        return f"it has the attribute {names[0]}" if names else ""


def _mode(mode: int) -> str:
    """Return a mode in the form of prototype files: `u` and `g` for set-ids. They have no sticky bits."""
    special = ("u" if mode & stat.S_ISUID else "-") + ("g" if mode & stat.S_ISGID else "-")
    return f"{special}{mode & 0o777:03o}"


def _set_times(contents: Contents, target: Path) -> None:
    """Set all times: those of changes from the folder, all others to the time stamp. Sticky bits are set here, too."""
    listed = run_host_program(["xfs_db", "-r", "-c", "blockget -n", "-c", "ncheck", target], reads=[target]).stdout
    with target.open("r+b") as stream:
        inodes = _Inodes(stream)
        inodes.change(inodes.root, contents.tree, contents.epoch)
        for number in inodes.realtime:
            inodes.change(number, None, contents.epoch)
        for line in listed.splitlines():
            if found := re.fullmatch(r"\s*(\d+) (.+)", line):
                path = found[2].removesuffix("/.")  # so are folders
                inodes.change(int(found[1]), contents.tree / path if contents.tree else None, contents.epoch)


class _Inodes:
    """Inodes of a file system (XFS Algorithms & Data Structures, chapters 12 and 13): version 3, with a checksum."""

    _ACCESS, _CHANGE, _STATUS, _BIRTH = 32, 40, 48, 144  # offsets of the times
    _SUM, _FLAGS, _BIG_TIME = 100, 120, 8
    _ZERO = 1 << 31  # seconds from the first time to 1970, if times are nanoseconds in 64 bits

    def __init__(self, stream: BinaryIO) -> None:
        head = stream.read(256)
        self.stream = stream
        self.block, self.group = struct.unpack_from(">I", head, 4)[0], struct.unpack_from(">I", head, 84)[0]
        self.realtime = struct.unpack_from(">QQ", head, 64)  # inodes without a name
        self.root, self.size = struct.unpack_from(">Q", head, 56)[0], struct.unpack_from(">H", head, 104)[0]
        self.in_block, self.in_group = head[123], head[124]  # numbers of bits

    def change(self, number: int, file: Path | None, epoch: int) -> None:
        """Set the times and the mode of an inode to those of a file."""
        info = file.lstat() if file and os.path.lexists(file) else None
        group, inner = divmod(number, 1 << self.in_block + self.in_group)
        block, index = divmod(inner, 1 << self.in_block)
        offset = (group * self.group + block) * self.block + index * self.size
        self.stream.seek(offset)
        data = bytearray(self.stream.read(self.size))
        if data[:2] != b"IN" or data[4] != 3:
            raise StagewrightError(Reason.BUILD_FAILED, "mkfs.xfs: inodes have another format than version 3")
        big = struct.unpack_from(">Q", data, self._FLAGS)[0] & self._BIG_TIME
        changed = info.st_mtime_ns if info else epoch * 10**9
        for place, nanoseconds in (
            *((field, epoch * 10**9) for field in (self._ACCESS, self._STATUS, self._BIRTH)),
            (self._CHANGE, changed),
        ):
            if big:
                struct.pack_into(">Q", data, place, nanoseconds + self._ZERO * 10**9)
            else:
                struct.pack_into(">ii", data, place, *divmod(nanoseconds, 10**9))
        if info:
            struct.pack_into(">H", data, 2, info.st_mode)
        struct.pack_into("<I", data, self._SUM, 0)
        struct.pack_into("<I", data, self._SUM, crc32c(bytes(data)))
        self.stream.seek(offset)
        self.stream.write(data)


def _table() -> Iterator[int]:
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        yield value


_TABLE = tuple(_table())


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (RFC 3720, appendix B.4) of some bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
