"""A scanner of the headers of a tar stream: it counts members and their size, and rejects names outside of the root.

GNU tar unpacks the same stream; the scanner limits its work in advance. Formats: POSIX (pax), GNU and old ones (tar(5)
of libarchive, "Basic Tar Format" of GNU tar's manual).
"""

from __future__ import annotations

import re

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.root.devices import DeviceNode
from stagewright.untrusted import LARGEST, number

BLOCK = 512
_LONGEST_HEADER = 1 << 20
"""The largest extended header of one member (bytes)."""

_MOST_DEVICES = 1000

_NODE_NAME = re.compile(r"[^\x00-\x1f\x7f\"\\\ufffd]{2,1000}")

_PAX = re.compile(rb"(\d+) ([^=\n]+)=")
_SIZES = {b"size", b"GNU.sparse.size", b"GNU.sparse.realsize"}
_OTHERS = {b"path", b"linkpath", b"uid", b"gid"}


@dataclass(frozen=True)
class Bounds:
    """Limits of an archive: members, and size of all files (bytes, including holes)."""

    members: int
    size: int

    @classmethod
    def of(cls, archive: int, members: int | None = None, size: int | None = None) -> Bounds:
        """Return the limits for an archive of this size (bytes); ``members`` and ``size`` override the defaults.

        A stage3 has about one member for each 3000 bytes of its archive, and unpacks to five times its size. The
        defaults allow thirty times as many members and ten times the size, and more for small archives.
        """
        return cls(members or 10_000 + archive // 100, size or (1 << 30) + 50 * archive)

    @property
    def stream(self) -> int:
        """The largest size of the decompressed archive (bytes)."""
        return self.size + 4 * BLOCK * self.members + (1 << 20)

    def remaining(self, other: TarScan) -> Bounds:
        """Return the remaining limits after another archive of the same root."""
        return Bounds(max(1, self.members - other.members), max(1, self.size - other.size))


class TarScan:
    """A scan of one stream. Raises as early as possible: ARCHIVE_TOO_LARGE, UNSAFE_ARCHIVE or BAD_ARCHIVE."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self.name = name
        self.bounds = bounds
        self.members = 0
        self.size = 0
        self.devices: list[DeviceNode] = []
        self._stream = 0
        self._skip = 0  # bytes of data until the next header
        self._pending = b""  # an incomplete header or extended header
        self._pax: dict[bytes, bytes] = {}
        self._ended = False

    def feed(self, chunk: bytes) -> None:
        """Scan the next bytes of the stream."""
        self._stream += len(chunk)
        if self._stream > self.bounds.stream:
            raise self._too_large("bytes after decompression", self.bounds.stream)
        if self._ended:
            return
        if self._skip >= len(chunk):
            self._skip -= len(chunk)
            return
        data = self._pending + chunk[self._skip :] if self._pending or self._skip else chunk
        at, end = 0, len(data)
        while end - at >= BLOCK and not self._ended:
            used = self._member(data, at)
            if not used:
                break
            at += used
        if self._ended:
            return
        self._skip = max(0, at - end)
        self._pending = data[at:] if at < end else b""

    def _member(self, data: bytes, at: int) -> int:
        """Scan the header at ``at``. Return its size with its content (bytes); 0 if it is incomplete."""
        kind = data[at + 156 : at + 157]
        if not _is_header(data[at : at + BLOCK]):  # the end, or invalid data, which tar reports
            self._ended = True
            return BLOCK
        size = self._size(data[at + 124 : at + 136])
        whole = BLOCK + -(-size // BLOCK) * BLOCK
        if kind in b"xgLK" and kind:
            if size > _LONGEST_HEADER:
                raise self._too_large("bytes in the header of a member", _LONGEST_HEADER)
            if len(data) - at < whole:
                return 0
            self._extended(kind, data[at + BLOCK : at + BLOCK + size])
            return whole
        return BLOCK + self._counted(kind, size, data[at : at + BLOCK])

    def _counted(self, kind: bytes, size: int, header: bytes) -> int:
        """Count a member, and return the size of its content in the archive (bytes)."""
        name = self._pax.pop(b"path", None) or _path(header)
        target = self._pax.pop(b"linkpath", None) or header[157:257].partition(b"\0")[0]
        sizes = {key: self._valid(number(value)) for key, value in self._pax.items() if key in _SIZES}
        stored = sizes.get(b"size", size)
        real = max([stored, *sizes.values()])
        if kind == b"S":  # GNU's old sparse format has the real size at 483
            real = max(real, self._size(header[483:495]))
        if kind in (b"3", b"4"):
            self._record(name, header)
        elif kind == b"1":
            self._link(absolute(name), absolute(target))
        self._pax = {}
        if kind in b"123456" and kind:  # links, devices, folders and pipes have no content
            stored = real = 0
        self.members += 1
        self.size += real
        if self.members > self.bounds.members:
            raise self._too_large("members", self.bounds.members)
        if self.size > self.bounds.size:
            raise self._too_large("bytes in its files", self.bounds.size)
        self._check_names(name, target if kind == b"1" else b"")
        return -(-stored // BLOCK) * BLOCK

    def _record(self, name: bytes, header: bytes) -> None:
        """Record a device node. The later one of two with the same name counts."""
        owner = [
            self._valid(number(self._pax[key]) if key in self._pax else _number(header[at : at + 8]))
            for key, at in ((b"uid", 108), (b"gid", 116))
        ]
        mode, major, minor = (self._size(header[at : at + 8]) for at in (100, 329, 337))
        path = absolute(name)
        node = DeviceNode(
            path=path,
            type="c" if header[156:157] == b"3" else "b",
            mode=mode & 0o7777,
            uid=owner[0],
            gid=owner[1],
            major=major,
            minor=minor,
        )
        self._keep(node)

    def _link(self, path: str, target: str) -> None:
        """Record a hard link to a device node as another node."""
        for node in self.devices:
            if node.path == target:
                self._keep(node.model_copy(update={"path": path}))
                return

    def _keep(self, node: DeviceNode) -> None:
        if not _NODE_NAME.fullmatch(node.path):  # the name becomes a word of commands for debugfs and mksquashfs
            raise StagewrightError(Reason.UNSAFE_ARCHIVE, f"{self.name}: odd name of a device node ({node.path!r})")
        self.devices = [*(other for other in self.devices if other.path != node.path), node]
        if len(self.devices) > _MOST_DEVICES:
            raise self._too_large("device nodes", _MOST_DEVICES)

    def _check_names(self, name: bytes, target: bytes) -> None:
        for path in (name, target):
            if path[:1] == b"/" or (b".." in path and b".." in path.split(b"/")):
                raise StagewrightError(
                    Reason.UNSAFE_ARCHIVE,
                    f"{self.name}: members outside of the root",
                    detail=repr(path.decode(errors="replace")),
                    hint="the files were discarded: use an archive from a trusted source",
                )

    def _extended(self, kind: bytes, body: bytes) -> None:
        if kind in (b"L", b"K"):
            self._pax[b"path" if kind == b"L" else b"linkpath"] = body.rstrip(b"\0")
            return
        if kind == b"g":
            return
        at = 0
        while found := _PAX.match(body, at):
            end = at + self._valid(number(found[1], limit=len(body)))
            if end < found.end():
                raise self._invalid()
            key, value = found[2], body[found.end() : end - 1]
            if key in _SIZES or key in _OTHERS:
                self._pax[key] = value
            at = end

    def _size(self, field: bytes) -> int:
        """Return the size in a field of a header (bytes). Raises ``BAD_ARCHIVE`` if it is invalid."""
        return self._valid(_number(field))

    def _valid(self, value: int | None) -> int:
        if value is None:
            raise self._invalid()
        return value

    def _invalid(self) -> StagewrightError:
        return StagewrightError(
            Reason.BAD_ARCHIVE, f"{self.name}: invalid number in the header of a member", hint="fetch the archive again"
        )

    def _too_large(self, what: str, limit: int) -> StagewrightError:
        return StagewrightError(
            Reason.ARCHIVE_TOO_LARGE,
            f"{self.name}: too large (more than {limit} {what})",
            hint="if you trust the archive, set `limits = { size = ..., members = ... }`",
        )


def absolute(name: bytes) -> str:
    """Return the path of a member in its root."""
    return "/" + "/".join(part for part in name.decode(errors="replace").split("/") if part not in ("", "."))


def _is_header(block: bytes) -> bool:
    """True if the checksum of a header is correct. A block of zeros is not a header."""
    total = sum(block) - sum(block[148:156]) + 8 * 0x20
    return _number(block[148:156]) == total


def _number(field: bytes) -> int | None:
    """Return a number of a header: octal digits, or base 256 if the first bit is set. None if it is invalid."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return None if field[0] & 0x40 or value > LARGEST else value  # bit 6 is the sign
    digits = field.partition(b"\0")[0].strip(b" ")
    return number(digits, base=8) if digits else 0


def _path(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name
