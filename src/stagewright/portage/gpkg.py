"""Binary packages of Portage, read and written without Portage (GLEP 78).

A package is a tar archive whose members are in one folder, named after the package: ``gpkg-1`` (empty), the archives
``metadata.tar.*`` and ``image.tar.*``, their signatures (``.sig``) if it is signed, and ``Manifest`` with the sizes and
digests of the others. A build can write anything into its folder of packages. So :func:`read` trusts nothing, and has
a limit for each size.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.root.sandbox import host_program
from stagewright.run import pipeline
from stagewright.untrusted import number, open_regular

SUFFIX = ".gpkg.tar"
VERSION, MANIFEST, SIGNATURE = "gpkg-1", "Manifest", ".sig"

DIGESTS = ("BLAKE2B", "SHA512")
"""The digests of a Manifest that are verified (GLEP 74)."""

COMPRESSORS = {
    ".tar": (),
    ".tar.bz2": ("bzip2",),
    ".tar.gz": ("gzip", "-n"),
    ".tar.xz": ("xz", "--memlimit-decompress=128MiB"),
    ".tar.zst": ("zstd", "-q", "--memory=128MB"),
}
"""Commands that compress an archive, or decompress it with ``-d``, by the end of its name."""

SPREAD = 1 << 16
"""Seconds in which the times of the packages of a project lie. Less than a day, so those of an update are later."""

_MOST_MEMBERS, _MOST_ENTRIES = 6, 1000
_LARGEST_METADATA, _LARGEST_MANIFEST = 64 << 20, 1 << 20
_LARGEST_HEADER, _ALL_HEADERS = 1 << 16, 4 << 20
"""Bytes of one header of an archive, and of all: tarfile has them in memory."""

_NAME = re.compile(r"[!-.0-~]{1,255}")
"""Names of a package and of its members: no spaces, slashes and control characters."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A member of a package: its name below the folder, the place of its content in the file, and its size (bytes)."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class BinaryPackage:
    """A package that was read: its folder, its members in their order, and the records of its Manifest by name."""

    path: Path
    basename: str
    members: tuple[Member, ...]
    digests: Mapping[str, Mapping[str, str]]
    is_signed: bool

    def member(self, stem: str) -> Member:
        """Return the archive ``metadata`` or ``image``. Raises ``BAD_ARCHIVE`` if it is missing."""
        found = [one for one in self.members if one.name.startswith(f"{stem}.tar") and not _is_signature(one.name)]
        if len(found) != 1:
            raise invalid(self.path, f"{len(found)} members {stem}.tar")
        return found[0]

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the content of a member, up to a mebibyte at a time."""
        with open_regular(self.path) as stream:
            stream.seek(member.offset)
            left = member.size
            while left:
                if not (chunk := stream.read(min(left, _CHUNK))):
                    raise invalid(self.path, f"{member.name} is truncated")
                left -= len(chunk)
                yield chunk

    def metadata(self, scratch: Path) -> dict[str, bytes]:
        """Return the files of its metadata, by name. ``scratch`` is a folder for a temporary file.

        Raises ``BAD_ARCHIVE`` for an archive that is damaged, too large or has an unknown compression.
        """
        return {info.name.removeprefix("metadata/"): data for info, data in self._metadata(scratch)}

    def _metadata(self, scratch: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
        member = self.member("metadata")
        if member.size > _LARGEST_METADATA:
            raise invalid(self.path, f"{member.name} is too large")
        data = _filtered(self, member, b"".join(self.chunks(member)), scratch, "-d")
        found = []
        for info, offset in _tar_members(self.path, io.BytesIO(data), len(data)):
            found.append((info, data[offset : offset + info.size]))
            if len(found) > _MOST_ENTRIES:
                raise invalid(self.path, "too many files in its metadata")
        return found


def _filtered(package: BinaryPackage, member: Member, data: bytes, scratch: Path, *options: str) -> bytes:
    """Return data compressed as an archive of a package is, or decompressed (``-d``)."""
    command = COMPRESSORS.get(member.name[member.name.index(".tar") :])
    if command is None:
        raise invalid(package.path, f"{member.name} has an unknown compression")
    if not command:
        return data
    found = bytearray()

    def keep(chunk: bytes) -> None:
        if len(found) + len(chunk) > _LARGEST_METADATA:
            raise invalid(package.path, f"{member.name} is too large")
        found.extend(chunk)

    with tempfile.NamedTemporaryFile(dir=scratch) as stream:
        stream.write(data)
        stream.flush()
        file = Path(stream.name).absolute()
        try:
            with host_program([*command, *options, "-c", file], reads=[file]) as sandboxed:
                pipeline([sandboxed.words], keep, pass_fds=sandboxed.descriptors)
        except StagewrightError as error:
            if error.reason is not Reason.COMMAND_FAILED:
                raise
            raise invalid(package.path, f"{member.name} cannot be decompressed") from error
    return bytes(found)


@dataclass(frozen=True)
class Part:
    """A member to write: its name, its size in bytes, and a function that yields its content."""

    name: str
    size: int
    chunks: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, name: str, data: bytes) -> Part:
        """Return a member with this content."""
        return cls(name, len(data), lambda: iter([data] if data else []))

    @classmethod
    def copy(cls, package: BinaryPackage, member: Member) -> Part:
        """Return a member with the content of a member of another package."""
        return cls(member.name, member.size, lambda: package.chunks(member))


def read(path: Path, *, manifest: bytes | None = None) -> BinaryPackage:
    """Read a package and verify the digests of all its members.

    ``manifest`` is the text of its Manifest, for a caller that has verified the signature of that. Raises
    ``BAD_ARCHIVE`` if the file is not a complete package.
    """
    with open_regular(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        found = []
        for info, offset in _tar_members(path, stream, size):
            folder, slash, name = info.name.partition("/")
            found.append((folder, Member(name, offset, info.size)))
            fine = _NAME.fullmatch(folder) and _NAME.fullmatch(name) and name not in (".", "..")
            if not slash or not fine or len(found) > _MOST_MEMBERS:
                raise invalid(path, f"unexpected member {info.name[:100]!r}")
    members = tuple(member for _, member in found)
    names = [member.name for member in members]
    folders = {folder for folder, _ in found}
    if len(folders) != 1 or len(set(names)) != len(names) or {VERSION, MANIFEST} - set(names):
        raise invalid(path, "not the members of a binary package")
    unread = BinaryPackage(path, folders.pop(), members, {}, False)
    text = read_manifest(unread)
    signed = any(map(_is_signature, names)) or text.startswith(b"-----BEGIN PGP")
    package = BinaryPackage(path, unread.basename, members, _records(path, manifest or _unsigned(text)), signed)
    package.member("metadata"), package.member("image")
    _verify(package)
    return package


def read_manifest(package: BinaryPackage) -> bytes:
    """Return the Manifest of a package as it is in the file, clear-signed or not."""
    (member,) = (member for member in package.members if member.name == MANIFEST)
    if member.size > _LARGEST_MANIFEST:
        raise invalid(package.path, "its Manifest is too large")
    return b"".join(package.chunks(member))


def manifest_of(path: Path) -> bytes:
    """Return the Manifest of the package in a file. Raises ``BAD_ARCHIVE`` if it has none."""
    with open_regular(path) as stream:
        for info, offset in _tar_members(path, stream, stream.seek(0, io.SEEK_END)):
            if info.name.endswith(f"/{MANIFEST}") and info.size <= _LARGEST_MANIFEST:
                stream.seek(offset)
                return stream.read(info.size)
    raise invalid(path, "no Manifest")


def write(target: Path, basename: str, parts: Sequence[Part], mtime: int) -> None:
    """Write a package of members in a new file. ``mtime`` is the time of the members, in seconds since 1970."""
    with target.open("xb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for part in parts:
            info = tarfile.TarInfo(f"{basename}/{part.name}")
            info.size, info.mtime = part.size, mtime
            archive.addfile(info, _Reader(part.chunks()))


def renumber(package: BinaryPackage, build_id: int, target: Path, mtime: int) -> None:
    """Write a package with another build id to a new file. Signatures are left out."""
    _rewrite(package, package._metadata(target.parent), target, mtime, {"BUILD_ID": b"%d\n" % build_id})


def date(package: BinaryPackage, target: Path, epoch: int) -> None:
    """Write a package to a new file, so that it does not depend on the time of its build. Signatures are left out.

    ``epoch`` (seconds since 1970) is the time of all members. The BUILD_TIME is up to :data:`SPREAD` seconds earlier,
    by the digest of the content: Portage takes two packages of one version and size for the same if it is equal.
    """
    image, metadata = package.digests[package.member("image").name], package._metadata(target.parent)
    total = hashlib.sha256(json.dumps(sorted(image.items())).encode())
    for info, data in sorted(metadata, key=_name_of):
        if info.name != "metadata/BUILD_TIME":
            total.update(f"{info.name} {hashlib.sha256(data).hexdigest()}\n".encode())
    built = epoch - int.from_bytes(total.digest()[:8], "big") % SPREAD
    _rewrite(package, metadata, target, epoch, {"BUILD_TIME": b"%d\n" % built})


def _name_of(entry: tuple[tarfile.TarInfo, bytes]) -> str:
    return entry[0].name


def _rewrite(
    package: BinaryPackage,
    files: Sequence[tuple[tarfile.TarInfo, bytes]],
    target: Path,
    mtime: int,
    changes: Mapping[str, bytes],
) -> None:
    """Write a package with the files of its metadata, sorted and with changes."""
    old, image = package.member("metadata"), package.member("image")
    stream = io.BytesIO()
    said: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in sorted(files, key=_name_of):
            name = info.name.removeprefix("metadata/")
            content = changes.get(name, data)
            said[name] = content[:300].decode("ascii", errors="replace").strip()
            info.size, info.mtime = len(content), mtime
            archive.addfile(info, io.BytesIO(content))
    metadata = _filtered(package, old, stream.getvalue(), target.parent)
    parts = [Part.of(VERSION, b""), Part.of(old.name, metadata), Part.copy(package, image)]
    manifest = "".join(record(part.name, part.size, digests_of(part.chunks())) for part in parts)
    basename = f"{said.get('PF', '')}-{said.get('BUILD_ID', '')}"
    if not said.get("PF") or not _NAME.fullmatch(basename):
        raise invalid(package.path, "its metadata has no valid name")
    write(target, basename, [*parts, Part.of(MANIFEST, manifest.encode())], mtime)


def record(name: str, size: int, digests: Mapping[str, str]) -> str:
    """Return the line of a Manifest for a member."""
    return " ".join(["DATA", name, str(size), *(word for pair in digests.items() for word in pair)]) + "\n"


def digests_of(chunks: Iterator[bytes], names: tuple[str, ...] = DIGESTS) -> dict[str, str]:
    """Return the digests of content by their names in a Manifest."""
    totals = {name: hashlib.new(name.lower()) for name in names}
    for chunk in chunks:
        for total in totals.values():
            total.update(chunk)
    return {name: total.hexdigest() for name, total in totals.items()}


def invalid(path: Path, why: str) -> StagewrightError:
    """Return the error for a file that is not a package."""
    return StagewrightError(Reason.BAD_ARCHIVE, f"{path.name}: not a binary package ({why})", hint="remove the file")


def _is_signature(name: str) -> bool:
    return name.endswith(SIGNATURE)


def _unsigned(text: bytes) -> bytes:
    """Return the records of a Manifest without the lines of a clear signature (RFC 4880, section 7)."""
    return b"".join(line for line in text.splitlines(keepends=True) if line.startswith(b"DATA "))


def _records(path: Path, text: bytes) -> dict[str, dict[str, str]]:
    """Return the records of a Manifest: size and digests by name of the member."""
    found: dict[str, dict[str, str]] = {}
    for line in text.decode("ascii", errors="replace").splitlines():
        kind, *words = line.split() or [""]
        if kind != "DATA" or len(words) < 4 or len(words) % 2 or words[0] in found:
            raise invalid(path, "its Manifest is invalid")
        found[words[0]] = {"size": words[1], **dict(zip(words[2::2], words[3::2], strict=True))}
    return found


def _verify(package: BinaryPackage) -> None:
    """Raise ``BAD_ARCHIVE`` unless the Manifest describes exactly the other members."""
    named = [member for member in package.members if member.name != MANIFEST]
    if {member.name for member in named} != set(package.digests):
        raise invalid(package.path, "its Manifest does not list its members")
    for member in named:
        wanted = package.digests[member.name]
        names = tuple(name for name in DIGESTS if name in wanted)[:1]
        if not names or number(wanted["size"]) != member.size:
            raise invalid(package.path, f"{member.name} does not match its Manifest")
        if digests_of(package.chunks(member), names)[names[0]] != wanted[names[0]].lower():
            raise invalid(package.path, f"{member.name} does not match its Manifest")


class _Headers(io.RawIOBase):
    """The part of a stream that tarfile uses for headers. It refuses to read large or many headers into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _ALL_HEADERS

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= min(_LARGEST_HEADER, self._left):
            raise tarfile.ReadError("header too large")
        self._left -= size
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)


class _Reader(io.RawIOBase):
    """A stream of chunks, for tarfile."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def _tar_members(path: Path, stream: IO[bytes], size: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield the regular files of an uncompressed tar archive, with the offset of their content.

    Raises ``BAD_ARCHIVE`` for anything else in it, and for whatever tarfile raises: it has no list of that. The caller
    limits the number of members.
    """
    stream.seek(0)
    try:
        with tarfile.open(fileobj=_Headers(stream), mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # many folders would fill the memory
                end = info.offset_data + info.size
                if info.isdir() and not info.size:
                    continue
                if not info.isreg() or info.issparse() or info.size < 0 or end > size:
                    raise invalid(path, f"unexpected member {info.name[:100]!r}")
                yield info, info.offset_data
    except StagewrightError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise invalid(path, "not a tar archive") from error
