"""Unpacking of untrusted archives: it cannot change anything outside of the target folder.

A decompressor feeds the scanner of headers (:mod:`tarscan`) and GNU tar. Tar runs in a sandbox without network in which
only the target is writable, so an escape fails even if tar allows it. Tar itself does not follow unsafe links. An error
of tar rejects the archive, and so does a size above the limits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.root.sandbox import host_program, unpacker
from stagewright.run import KILLED, PIPE, failure, paste, pipeline, says_no_room, spawn, widen
from stagewright.seeds.tarscan import Bounds, TarScan, absolute

COMPRESSORS = {
    b"\xfd7zXZ\x00": ("xz", "--threads=0"),
    b"(\xb5/\xfd": ("zstd", "--long=31"),
    b"BZh": ("bzip2",),
    b"\x1f\x8b": ("gzip",),
    **{bytes([number]) + b"\x2a\x4d\x18": ("zstd", "--long=31") for number in range(0x50, 0x60)},  # skippable frames
}
"""Decompressors by the first bytes of a file. What pzstd(1) writes begins with a skippable frame (RFC 8878, 3.1.2)."""

UNSUPPORTED = {
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"LZIP": "lzip",
    b"\x5d\x00\x00": "lzma",
    b"\x89LZO": "lzop",
    b"\x1f\x9d": "compress",
    b"PK\x03\x04": "zip",
}
"""Known formats that are not unpacked, by the first bytes of a file."""

_UNSAFE = re.compile(
    r"Member name contains '\.\.'|Removing leading|Not a directory|File exists|Cannot unlink", re.IGNORECASE
)
_INSIDE = "/mnt"
_NO_NODE = re.compile(r"^tar: (.*: Cannot mknod: Operation not permitted|A lone zero block at \d+)\n", re.MULTILINE)
_NO_LINK = re.compile(r"^tar: .*: Cannot hard link to .(.*).: No such file or directory\n", re.MULTILINE)
_NO_ATTRIBUTE = re.compile(
    r"^tar: \w+: Cannot set '(?P<name>[^'\n]*)' extended attribute for file '(?P<file>.*)': (?P<why>.*)(\n|\Z)",
    re.MULTILINE,
)
_KEPT = re.compile(r"security\.capability|system\.posix_acl_(access|default)|user\..*")
"""Attributes that a layer has on every computer. Builds may not write others, such as those of the kind trusted."""

_ONLY = "tar: Exiting with failure status due to previous errors"


def unpack(archive: Path, target: Path, log: IO[str], bounds: Bounds | None = None, *, name: str = "") -> TarScan:
    """Unpack a tarball into an empty folder, and return its scan. ``name`` is the name in errors.

    Device nodes are not made. The scan has a record of them.

    Raises ``UNSAFE_ARCHIVE`` for names and links outside of the target, ``ARCHIVE_TOO_LARGE`` above the limits
    (default: :meth:`Bounds.of` its size), ``BAD_ARCHIVE`` for a damaged archive or an unsupported compressor.
    """
    name, archive = name or archive.name, archive.resolve()  # zstd(1) skips symbolic links
    decompress = _decompress(archive, name)
    scan = TarScan(name, bounds or Bounds.of(archive.stat().st_size))
    with tempfile.TemporaryFile() as said:
        with unpacker(target, _INSIDE, _tar(scan.bounds)) as sandboxed:
            tar = spawn(sandboxed.words, stdin=PIPE, stdout=said, stderr=said, pass_fds=sandboxed.descriptors)
        assert tar.stdin
        widen(tar.stdin)

        def pass_on(chunk: bytes) -> None:
            scan.feed(chunk)
            with contextlib.suppress(BrokenPipeError):  # tar has failed; its output has the reason
                tar.stdin.write(chunk)  # type: ignore[union-attr]

        damage = None
        try:
            with host_program(decompress, reads=[archive], own_ids=True) as source:
                pipeline([source.words], pass_on, log=log, pass_fds=source.descriptors)
        except StagewrightError as error:
            if error.reason is not Reason.COMMAND_FAILED or error.hint:  # a killed program says nothing about the data
                raise
            damage = error
        finally:
            with contextlib.suppress(BrokenPipeError):
                tar.stdin.close()  # let tar end by itself: a killed tar may still write
            code = tar.wait()
        said.seek(0)
        text = _without_others(said.read().decode(errors="replace").strip())
    log.write(f"+ {paste(sandboxed.words)}\n{text}\n")
    if code in KILLED:
        raise failure(["tar"], code, text)
    if scan.devices and _without_nodes(text, scan) == _ONLY:  # tar has unpacked everything else
        code, text = 0, ""
    _judge(name, code, text, damage)
    return scan


def _without_nodes(said: str, scan: TarScan) -> str:
    """Return the messages of tar without those about device nodes and links to them, which the scan has recorded."""
    nodes = {node.path for node in scan.devices}
    said = _NO_LINK.sub(lambda found: "" if absolute(found[1].encode()) in nodes else found[0], said)
    return _NO_NODE.sub("", said)


def _without_others(said: str) -> str:
    """Return the messages of tar without those about attributes that no layer has."""
    return _NO_ATTRIBUTE.sub(lambda found: found[0] if _KEPT.fullmatch(found["name"]) else "", said)


def check_root(tree: Path, name: str) -> None:
    """Raise ``BAD_ARCHIVE`` if a tree is not a root file system."""
    if not any((tree / part).exists() for part in ("usr", "bin", "etc")):
        raise StagewrightError(
            Reason.BAD_ARCHIVE,
            f"{name}: no root file system",
            hint="use an archive with folders such as usr and etc at its top",
        )


def _decompress(archive: Path, name: str) -> Sequence[str]:
    with archive.open("rb") as stream:
        head = stream.read(8)
    unsupported = next((word for magic, word in UNSUPPORTED.items() if head.startswith(magic)), None)
    if unsupported:
        message = f"{name}: compressed by {unsupported}, which is not supported"
        hint = "unpack it, and pack the tarball with zstd, xz, gzip or bzip2"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint=hint)
    program = next((words for magic, words in COMPRESSORS.items() if head.startswith(magic)), None)
    if program is None:
        return ["cat", str(archive)]
    return [*program, "--decompress", "--stdout", str(archive)]


def _tar(bounds: Bounds) -> Sequence[str]:
    """Return the command of GNU tar, which reads standard input. prlimit(1) bounds the size of each file."""
    words = ["tar", "--extract", "--file=-", f"--directory={_INSIDE}", "--numeric-owner", "--same-permissions"]
    words += ["--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    words += [f"--warning=no-{name}" for name in ("timestamp", "unknown-keyword")]  # to see errors only
    # These would make folders opaque or moved in overlayfs.
    words += [f"--xattrs-exclude={name}.overlay.*" for name in ("trusted", "user")]
    return ["prlimit", f"--fsize={bounds.size}", "--", *words]


def _judge(name: str, code: int, said: str, damage: StagewrightError | None) -> None:
    """Raise an error if tar or the decompressor failed."""
    shown = "\n".join(said.splitlines()[:8])
    if says_no_room(said):
        raise StagewrightError(Reason.DISK_FULL, f"{name}: no space left on the disk", detail=shown)
    if _UNSAFE.search(said):
        raise StagewrightError(
            Reason.UNSAFE_ARCHIVE,
            f"{name}: members outside of the root",
            detail=shown,
            hint="the files were discarded: use an archive from a trusted source",
        )
    if "Cannot change ownership" in said and "Invalid argument" in said:
        raise foreign_owners(name, shown)
    if lost := _NO_ATTRIBUTE.search(said):
        raise _lost(name, lost)
    if code or damage:
        detail = "\n".join(filter(None, [damage.detail if damage else "", shown]))
        raise StagewrightError(
            Reason.BAD_ARCHIVE, f"{name}: cannot be unpacked", detail=detail, hint="fetch the archive again"
        )


def foreign_owners(name: str, detail: str) -> StagewrightError:
    """Return the error for owners of files that builds do not have."""
    what, hint = f"{name}: owners that builds do not have", "use an archive with ids from 0 to 65535"
    return StagewrightError(Reason.BAD_ARCHIVE, what, detail=detail, hint=hint)


def _lost(name: str, found: re.Match[str]) -> StagewrightError:
    """Return the error for an attribute that tar could not write. The layer would be another one on other computers."""
    what = f"{found['name']} of {found['file']} cannot be written ({found['why']})"
    if found["why"] == os.strerror(errno.EOPNOTSUPP):
        hint = "put the store on a file system with attributes, such as ext4, xfs or btrfs (--store)"
        return StagewrightError(Reason.HOST_FEATURE, f"{name}: {what}", hint=hint)
    hint = "use an archive with ids from 0 to 65535"
    return StagewrightError(Reason.BAD_ARCHIVE, f"{name}: {what}", hint=hint)
