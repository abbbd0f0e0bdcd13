"""The files inside an artifact: of a tarball, a squashfs, an initramfs or an ISO. Nothing is mounted or executed.

Programs of this machine read the formats in a sandbox: an artifact can come from others. Content is read once, and only
its digest is kept. The content of chosen files can be copied out, to look into them as well.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from stagewright.errors import Reason, StagewrightError
from stagewright.media.initramfs_contents import CpioEntry, archives, entries
from stagewright.media.inspect import unpack_iso
from stagewright.root.sandbox import host_program
from stagewright.run import PIPE, spawn
from stagewright.store.content import TYPES
from stagewright.trees import walk_tree
from stagewright.untrusted import open_regular

ESP = "(EFI system partition)"
"""The folder in which the files of an ISO's EFI system partition are listed."""

_CHUNK = 1 << 20
_LARGEST_TABLE = 1 << 30  # bytes of the table of a squashfs
_TABLE_END = b"\n# START OF DATA - DO NOT MODIFY\n#\n"
_LINE = re.compile(rb"(?P<name>(?:\\.|[^\\ ])*) (?P<type>[A-Z]) (?P<rest>[^\n]*)\n", re.DOTALL)
_TYPES = {b"R": "file", b"D": "folder", b"S": "link", b"C": "char", b"B": "block", b"F": "pipe", b"I": "pipe"}
_TAR_TYPES = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "pipe",
}
_XATTR = "SCHILY.xattr."
_COMPRESSORS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
_CPIO = (b"070701", b"070702")


class Container(enum.StrEnum):
    """A format of files that contain other files."""

    TAR = "tarball"
    SQUASHFS = "squashfs"
    CPIO = "initramfs"
    ISO = "ISO"


class Member(NamedTuple):
    """One file, folder, link or device.

    ``content`` is the SHA-256 of a file, the target of a link, the numbers of a device; or ``=PATH`` for another name
    of a file. ``time`` is in seconds since 1970, ``size`` in bytes. ``attributes`` are known in tarballs only.
    """

    type: str
    mode: int = 0
    owner: str = ""
    size: int = 0
    time: int = 0
    content: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


Members = dict[str, Member]
"""Members by absolute path."""

Wanted = Mapping[str, Path]
"""Files to copy out: where to, by the path of the member."""


def container_of(path: Path) -> Container | None:
    """Return the format of a file that contains other files; None for any other file."""
    with open_regular(path) as stream:
        head = stream.read(512)
        stream.seek(16 * 2048)
        volume = stream.read(6)
    if volume[1:] == b"CD001":
        return Container.ISO
    if head.startswith(b"hsqs"):
        return Container.SQUASHFS
    program = _compressor(head)
    if program and not head.startswith(_CPIO):
        with _output([program, "-dc", path], path, partial=True) as unpacked:
            head = unpacked.read(512)
    if head.startswith(_CPIO):
        return Container.CPIO
    return Container.TAR if head[257:262] == b"ustar" else None


def read_members(path: Path, container: Container, work: Path, wanted: Wanted | None = None) -> Members:
    """Return the files in a container. ``work`` is a folder for temporary files.

    Raises ``BAD_ARCHIVE`` if it cannot be read.
    """
    copies = wanted or {}
    if container is Container.ISO:
        return _iso(path, work, copies)
    with tempfile.TemporaryDirectory(dir=work) as name:
        found = {
            Container.SQUASHFS: _squashfs,
            Container.TAR: _tar,
            Container.CPIO: _cpio,
        }[container](path, Path(name), copies)
        return dict(found)


def _compressor(head: bytes) -> str | None:
    return next((name for magic, name in _COMPRESSORS.items() if head.startswith(magic)), None)


def _tar(path: Path, _: Path, wanted: Wanted) -> Iterator[tuple[str, Member]]:
    with path.open("rb") as stream:
        program = _compressor(stream.read(8)) or "cat"
    words: list[str | Path] = [program, *(["-dc"] if program != "cat" else []), path]
    with _output(words, path) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
                for member in archive:
                    yield _tar_member(archive, member, wanted)
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise _invalid(path, str(error)) from error
        while stream.read(_CHUNK):
            pass


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: Wanted) -> tuple[str, Member]:
    name, content = _absolute(member.name), ""
    if member.islnk():
        content = f"={_absolute(member.linkname)}"
    elif member.issym():
        content = member.linkname
    elif member.isdev() and not member.isfifo():
        content = f"{member.devmajor}:{member.devminor}"
    elif member.isreg() and (data := archive.extractfile(member)):
        content = _copied(data, member.size, wanted.get(name))
    attributes = [(key, value) for key, value in sorted(member.pax_headers.items()) if key.startswith(_XATTR)]
    return name, Member(
        _TAR_TYPES.get(member.type, "file"),
        member.mode,
        f"{member.uid}/{member.gid}",
        member.size if member.isreg() else 0,
        int(member.mtime),
        content,
        tuple((key.removeprefix(_XATTR), value) for key, value in attributes),
    )


def _squashfs(path: Path, _: Path, wanted: Wanted) -> Iterator[tuple[str, Member]]:
    """Read the form that unsquashfs writes for mksquashfs: a table of all files, then their content in this order."""
    with _output(["unsquashfs", "-n", "-pf", "/dev/stdout", path], path) as stream:
        for name, kind, words in _table(stream, path):
            if kind == b"L":
                yield name, Member("file", content=f"={_absolute(words[0].decode(errors='surrogateescape'))}")
                continue
            time, mode, user, group, *rest = words
            size, content = 0, ""
            if kind == b"R":
                size = int(rest[0])
                content = _copied(stream, size, wanted.get(name))
            elif kind in (b"C", b"B"):
                content = b":".join(rest).decode()
            elif kind == b"S":
                content = b" ".join(rest).decode(errors="surrogateescape")
            owner = f"{user.decode()}/{group.decode()}"
            yield name, Member(_TYPES.get(kind, "file"), int(mode, 8), owner, size, int(time), content)


def _table(stream: IO[bytes], path: Path) -> list[tuple[str, bytes, list[bytes]]]:
    """Return the entries of the table: path, type, and the values after the type."""
    table = bytearray()
    while not table.endswith(_TABLE_END):
        line = stream.readline()
        table += line
        if not line or len(table) > _LARGEST_TABLE:
            raise _invalid(path, "unsquashfs wrote no table of its files")
    found = []
    at, end = len(table) - len(table.lstrip(b"\n")), len(table) - len(_TABLE_END)
    while at < end and (line_found := _LINE.match(table, at, end + 1)):
        name = re.sub(rb"\\(.)", rb"\1", line_found["name"], flags=re.DOTALL)
        found.append((_absolute(name.decode(errors="surrogateescape")), line_found["type"], line_found["rest"].split()))
        at = line_found.end()
    return found


def _cpio(path: Path, work: Path, wanted: Wanted) -> Iterator[tuple[str, Member]]:
    with open_regular(path) as packed, tempfile.TemporaryFile(dir=work) as unpacked:
        for stream in archives(path, packed, unpacked):
            for entry in entries(stream):
                yield _absolute(entry.name), _cpio_member(stream, entry, wanted.get(_absolute(entry.name)))


def _cpio_member(stream: IO[bytes], entry: CpioEntry, target: Path | None) -> Member:
    kind = TYPES.get(stat.S_IFMT(entry.mode), "file")
    content = ""
    if kind == "file":
        content = _copied(stream, entry.size, target)
    elif kind == "link":
        content = stream.read(min(entry.size, _CHUNK)).decode(errors="surrogateescape")
    elif kind in ("char", "block"):
        content = f"{entry.device[0]}:{entry.device[1]}"
    size = entry.size if kind == "file" else 0
    return Member(kind, stat.S_IMODE(entry.mode), f"{entry.user}/{entry.group}", size, entry.time, content)


def _iso(path: Path, work: Path, wanted: Wanted) -> Members:
    """Read an ISO and its EFI system partition, by copies of their files. Owners and modes are not compared."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        tree, esp, _ = unpack_iso(path, Path(name))
        found = dict(_folder(tree, "", wanted))
        return found | (dict(_folder(esp, f"/{ESP}", wanted)) if esp.exists() else {})


def _folder(tree: Path, prefix: str, wanted: Wanted) -> Iterator[tuple[str, Member]]:
    for step in walk_tree(tree):
        if step.left:
            continue
        for file in step.files:
            info = file.stat(follow_symlinks=False)
            name, kind = f"{prefix}/{step.path(file.name)}", TYPES[stat.S_IFMT(info.st_mode)]
            size, content = 0, ""
            if kind == "file":
                with open_regular(tree / step.path(file.name), follow=False) as stream:
                    size, content = info.st_size, _copied(stream, info.st_size, wanted.get(name))
            elif kind == "link":
                content = os.readlink(file.name, dir_fd=step.folder)
            yield name, Member(kind, size=size, time=int(info.st_mtime), content=content)


def _copied(stream: IO[bytes], size: int, target: Path | None) -> str:
    """Read so many bytes, copy them to a file if one is given, and return their SHA-256."""
    total, left = hashlib.sha256(), size
    with target.open("wb") if target else contextlib.nullcontext() as copy:
        while left and (chunk := stream.read(min(left, _CHUNK))):
            left -= len(chunk)
            total.update(chunk)
            if copy:
                copy.write(chunk)
    return total.hexdigest()


def _absolute(name: str) -> str:
    return "/" + ("" if name == "." else name.removeprefix("./").strip("/"))


@contextlib.contextmanager
def _output(words: list[str | Path], path: Path, *, partial: bool = False) -> Iterator[IO[bytes]]:
    """Yield the output of a program that reads a file in a sandbox. ``partial``: it may be stopped, or fail."""
    source = path.absolute()
    command = [source if word == path else word for word in words]
    with (
        tempfile.TemporaryFile() as errors,
        host_program(command, reads=[source]) as sandboxed,
        spawn(sandboxed.words, stdout=PIPE, stderr=errors, pass_fds=sandboxed.descriptors) as process,
    ):
        assert process.stdout
        yield process.stdout
        if partial:
            process.kill()
        process.stdout.close()
        code = process.wait()
        errors.seek(0)
        detail = errors.read(4096).decode(errors="replace").strip()
    if code not in (0, 2) and not partial:  # 2: unsquashfs met something that it could not represent
        raise _invalid(path, detail)


def _invalid(path: Path, detail: str) -> StagewrightError:
    return StagewrightError(Reason.BAD_ARCHIVE, f"{path.name}: cannot be read", detail=detail, hint="copy it again")
