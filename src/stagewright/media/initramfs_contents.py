"""The contents of an initramfs of any origin, read as the kernel reads it. Nothing in it is executed.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Archives above the limits are invalid.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import module_names
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.media.arguments import InitramfsKind
from stagewright.media.compressed_ends import ALIGNMENT, ending, lengthening
from stagewright.media.netmodules import NetModule
from stagewright.root.sandbox import host_program
from stagewright.run import pipeline
from stagewright.untrusted import number

_MAGIC = (b"070701", b"070702")
_HEADER = 110
_FIELDS = (14, 22, 30, 46, 78, 86)  # offsets of mode, user, group, time, and of the numbers of a device
_COMPRESSORS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x5d\x00\x00": "lzma",
    b"\x89LZO\x00\r": "lzop",
}
"""Compressors by the first bytes of the file (lib/decompress.c of the kernel)."""

_MODULES = ("usr/lib/dracut/modules.txt", "lib/dracut/modules.txt")
_VERSION = lazy_pattern(r"(?:\./)?(?:usr/)?lib/dracut/dracut-(\d{1,5})(?:[.-].*)?")
_GENKERNEL = frozenset(("etc/initrd.scripts", "etc/build_id"))
_KEYMAPS = ("lib/udev/console_init", "lib/systemd/systemd-vconsole-setup")
"""Programs that load a keymap: of dracut's module i18n without systemd, and of systemd. Debian's systemd has none."""
_LONGEST = 1 << 20  # longest list of modules that is read, in bytes
_LONGEST_NAME = 4096  # PATH_MAX: the kernel skips files with longer names
_MOST_FILES = 500_000
_MOST_NAMES = 64 << 20  # size of all names in bytes
_PIECE = 1 << 16
_PAGE, _INODE = 4096, 1024  # bytes; inode and directory entry of a file in memory (rounded)
_ALWAYS, _RATIO, _LARGEST = 256 << 20, 30, 8 << 30  # limits after decompression: bytes, times the file's size, bytes
_PART = 'first=$1 size=$2 file=$3; shift 3; tail --bytes "+$first" "$file" | head --bytes "$size" | "$@"'
_XZ_MEMORY = "--memlimit-decompress=512MiB"


@dataclass(frozen=True)
class InitramfsContents:
    """Paths of the files in an initramfs, and dracut's modules; None if dracut did not make it.

    ``regular`` are those of the paths that are regular files. ``unpacked`` is the memory, in bytes, that the files take
    after the kernel has unpacked them.
    """

    paths: frozenset[str]
    modules: frozenset[str] | None
    regular: frozenset[str] = frozenset()
    unpacked: int = 0

    @classmethod
    def of(cls, path: Path, work: Path) -> InitramfsContents:
        """Read an initramfs; ``work`` takes a temporary file. Raises ``BAD_ARCHIVE`` if it is not an initramfs."""
        modules: list[str] | None = None
        paths: set[str] = set()
        regular: set[str] = set()
        files = length = memory = 0
        with path.open("rb") as packed, tempfile.TemporaryFile(dir=work) as unpacked:
            for stream in archives(path, packed, unpacked):
                for entry in entries(stream):
                    name, size = entry.name, entry.size
                    paths.add(name)
                    if stat.S_ISREG(entry.mode):
                        regular.add(name)
                    files, length = files + 1, length + len(name)
                    memory += _INODE + -(-size // _PAGE) * _PAGE
                    if files > _MOST_FILES or length > _MOST_NAMES:
                        raise _invalid(f"too many files (more than {_MOST_FILES}, or {_MOST_NAMES} bytes of names)")
                    if name in _MODULES and size < _LONGEST:
                        modules = stream.read(size).decode(errors="replace").split()
        return cls(frozenset(paths), None if modules is None else frozenset(modules), frozenset(regular), memory)

    @property
    def by(self) -> InitramfsKind | None:
        """The program that made it, or None if that is unknown."""
        if self.modules is not None:
            return InitramfsKind.DRACUT
        return InitramfsKind.GENKERNEL if self.paths & _GENKERNEL else None

    @property
    def dracut(self) -> int:
        """The major version of the dracut that made it, from the name of a file; 0 if it is unknown."""
        found = (_VERSION.fullmatch(path) for path in self.paths)
        return next((int(match[1]) for match in found if match), 0)

    @property
    def is_microcode(self) -> bool:
        """True if it holds nothing but microcode (Documentation/arch/x86/microcode.rst of the kernel)."""
        return bool(self.paths) and all(f"{path}/".startswith(("./", "kernel/")) for path in self.paths)

    @property
    def network(self) -> tuple[NetModule, ...]:
        """Its dracut modules for network boot."""
        return tuple(module for module in NetModule if module in (self.modules or ()))

    @property
    def sets_keymaps(self) -> bool:
        """True if it can set a keyboard layout: it has keymaps and a program that loads them."""
        return "i18n" in (self.modules or ()) and any(path.endswith(_KEYMAPS) for path in self.paths)

    @property
    def drivers(self) -> frozenset[str]:
        """Names of the kernel modules in it."""
        return module_names(self.paths)

    def has_program(self, name: str) -> bool:
        """Return True if it contains a program with this name."""
        return any(path.endswith(f"bin/{name}") for path in self.paths)


def archives(path: Path, packed: IO[bytes], unpacked: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield the archives in turn, as the kernel finds them: uncompressed ones, such as microcode, and compressed ones.

    An archive of zstd or lz4 can have others behind it. One that is compressed in another way is the last.
    """
    while program := _next(path, packed):
        if program == _CPIO:
            yield packed
            continue
        start = packed.tell()
        found = ending(packed, start, program)
        end = found.end if found else path.stat().st_size
        _decompress(path, start, end, program, unpacked)
        while unpacked.read(6) in _MAGIC:
            unpacked.seek(-6, os.SEEK_CUR)
            yield unpacked
            _skip_padding(unpacked)
        packed.seek(end)


def align(path: Path) -> None:
    """Make the size of an initramfs a multiple of four bytes, so that other programs can append an archive to it.

    The content stays the same. Files of lzma and lzop keep their size: no change is accepted by all of their readers.
    """
    with path.open("rb") as stream:
        while (program := _next(path, stream)) == _CPIO:
            for _ in entries(stream):
                pass
        change = lengthening(stream, stream.tell(), program) if program else None
    size = path.stat().st_size
    if change:
        replaced = path.with_name(f"{path.name}.aligned")
        shutil.copy(path, replaced)
        with path.open("rb") as source, replaced.open("r+b") as target:
            target.truncate(change.start)
            target.seek(change.start)
            target.write(change.data)
            source.seek(change.end)
            shutil.copyfileobj(source, target, _PIECE)
        replaced.rename(path)
    elif size % ALIGNMENT and program in ("", "bzip2"):  # the kernel and bzip2 skip zeros
        with path.open("ab") as target:
            target.write(bytes(-size % ALIGNMENT))


_CPIO = "cpio"


def _next(path: Path, stream: IO[bytes]) -> str:
    """Return the format of the archive that comes next, and move there; "" at the end of the file.

    Raises ``BAD_ARCHIVE`` if the kernel would not read it.
    """
    _skip_padding(stream)
    start = stream.tell()
    head = stream.read(6)
    stream.seek(start)
    if not head:
        return ""
    if head in _MAGIC:
        if start % ALIGNMENT:
            raise _invalid(f"kernels do not read the archive at offset {start}, which is not a multiple of four bytes")
        return _CPIO
    if program := next((name for magic, name in _COMPRESSORS.items() if head.startswith(magic)), ""):
        return program
    message = f"{path.name}: not an initramfs (neither cpio nor a format that kernels decompress)"
    raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="check the file, or copy it again")


def _decompress(path: Path, start: int, end: int, program: str, unpacked: IO[bytes]) -> None:
    """Decompress a part of a file. Raises ``BAD_ARCHIVE`` above the limit, or if the data is broken."""
    limit = min(_LARGEST, _ALWAYS + _RATIO * path.stat().st_size)

    def write(chunk: bytes) -> None:
        if unpacked.tell() + len(chunk) > limit:
            raise _invalid(f"too large after decompression (more than {limit} bytes)")
        unpacked.write(chunk)

    source = path.absolute()
    xz = {"xz": ["xz", _XZ_MEMORY, "-dc"], "lzma": ["xz", _XZ_MEMORY, "--format=lzma", "-dc"]}
    words = ["sh", "-c", _PART, "sh", str(start + 1), str(end - start), str(source), *xz.get(program, [program, "-dc"])]
    unpacked.seek(0)
    unpacked.truncate()
    try:
        with host_program(words, reads=[source]) as sandboxed:
            pipeline([sandboxed.words], write, pass_fds=sandboxed.descriptors)
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        raise _invalid(f"{program} cannot decompress it", error.detail) from error
    unpacked.seek(0)


def _skip_padding(stream: IO[bytes]) -> None:
    while piece := stream.read(_PIECE):
        if rest := piece.lstrip(b"\0"):
            stream.seek(-len(rest), os.SEEK_CUR)
            return


class CpioEntry(NamedTuple):
    """One file in an archive. ``mode`` includes the type (inode(7)), ``size`` is in bytes, ``time`` in seconds."""

    name: str
    mode: int
    user: int
    group: int
    time: int
    size: int
    device: tuple[int, int]


def entries(stream: IO[bytes]) -> Iterator[CpioEntry]:
    """Yield the files in one archive of cpio's "newc" format, with the stream at the content of each file."""
    base = stream.tell()
    while True:
        header = stream.read(_HEADER)
        if len(header) < _HEADER or header[:6] not in _MAGIC:
            raise _invalid("truncated")
        size, length = (number(header[place : place + 8], 16) for place in (54, 94))
        if size is None or not length or length > _LONGEST_NAME:
            raise _invalid("invalid header of a file")
        name = stream.read(length).rstrip(b"\0").decode(errors="replace").removeprefix("./")
        stream.seek(-(stream.tell() - base) % 4, os.SEEK_CUR)
        if name == "TRAILER!!!":
            return
        start = stream.tell()
        mode, user, group, time, major, minor = (number(header[at : at + 8], 16) or 0 for at in _FIELDS)
        yield CpioEntry(name, mode, user, group, time, size, (major, minor))
        stream.seek(start + size + -size % 4)


def _invalid(what: str, detail: str = "") -> StagewrightError:
    hint = "check the file, or copy it again"
    return StagewrightError(Reason.BAD_ARCHIVE, f"the initramfs: {what}", detail=detail, hint=hint)
