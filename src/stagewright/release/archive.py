"""Archives of a root: GNU tar writes into a compressor; digests and the listing are made in the same pass.

Equal roots give equal archives: sorted names, numeric owners, extended attributes (including ACLs and capabilities),
clamped times. ``--sparse-version=0.0`` is used since the other formats contain tar's process id. Holes are detected by
content, since file systems store them differently.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.errors import StagewrightError
from stagewright.release.artifact_digests import DigestedFile, FileDigests, companion
from stagewright.release.listing import write_contents
from stagewright.root.devices import DeviceNode
from stagewright.root.sandbox import host_program
from stagewright.run import pipeline
from stagewright.temporary import temporary_folder

MEMORY = 2048
"""Memory limit of a compressor (MiB), unless two of its threads need more."""

_DICTIONARY = (0.25, 1, 2, 4, 4, 8, 8, 16, 32, 64)
"""Size of xz's dictionary (MiB) by level (xz(1))."""

PackProgress = Callable[[int], None]


class Compression(enum.StrEnum):
    """The compression of a tarball; the value is the suffix of the file name."""

    ZSTD = "zst"
    XZ = "xz"
    BZIP2 = "bz2"
    GZIP = "gz"
    NONE = "none"

    @property
    def suffix(self) -> str:
        """The suffix of a tarball's file name."""
        return "tar" if self is Compression.NONE else f"tar.{self.value}"

    @property
    def program(self) -> str:
        """The compressor; cat(1) without compression."""
        return {"zst": "zstd", "xz": "xz", "bz2": "bzip2", "gz": "gzip", "none": "cat"}[self.value]

    @property
    def level(self) -> int:
        """The default level."""
        return {"xz": 6, "none": 0}.get(self.value, 9)

    @property
    def highest(self) -> int:
        """The highest level."""
        return {"zst": 19, "none": 0}.get(self.value, 9)

    def memory(self, level: int, threads: int = 2) -> int:
        """Return the peak memory (MiB) of the compressor (measured: 21 dictionaries for each thread of xz)."""
        if self is Compression.ZSTD:
            return threads * (80 if level <= 12 else 220)
        if self is Compression.XZ:
            return int(threads * max(20, 21 * _DICTIONARY[level]))
        return 16  # one thread with blocks of at most 900 kB (bzip2(1))

    def command(self, level: int, cores: int) -> list[str]:
        """Return the command of the compressor, with as many threads as :data:`MEMORY` allows.

        xz uses at least two threads: its output with one thread differs, but is equal for two or more. The output of
        zstd does not depend on threads. bzip2 and gzip have one thread. The memory limit makes xz fail instead of
        using more memory or another dictionary.
        """
        threads = max(2, min(cores, MEMORY // self.memory(level, 1)))
        limit = f"--memlimit-compress={self.memory(level, threads)}MiB"
        return {
            Compression.ZSTD: ["zstd", "--quiet", "--stdout", f"-T{threads}", f"-{level}"],
            Compression.XZ: ["xz", "--quiet", "--stdout", f"-T{threads}", f"-{level}", limit, "--no-adjust"],
            Compression.BZIP2: ["bzip2", "--quiet", "--stdout", f"-{level}"],
            Compression.GZIP: ["gzip", "--quiet", "--no-name", "--stdout", f"-{level}"],
            Compression.NONE: ["cat"],
        }[self]


@dataclass(frozen=True)
class Packed:
    """The digests of a tarball and of its listing."""

    archive: FileDigests
    contents: FileDigests


def pack(
    root: Path,
    target: Path,
    compressor: list[str],
    *,
    epoch: int,
    log: IO[str] | None = None,
    progress: PackProgress = lambda _: None,
    devices: Sequence[DeviceNode] = (),
) -> Packed:
    """Pack the tree below ``root`` into ``target`` and list it in ``<target>.CONTENTS.gz``. It begins with ``devices``.

    ``progress`` is called from another thread with the size on disk (bytes) of all files started so far. Raises
    ``COMMAND_FAILED`` if tar or the compressor fails; OSError if the disk is full.
    """
    reader, writer = os.pipe()
    command = _tar(root, epoch, f"/dev/fd/{writer}")
    with DigestedFile(target) as archive, DigestedFile(companion(target, "CONTENTS.gz")) as contents:
        with ThreadPoolExecutor(1) as thread:
            listing = thread.submit(_list, reader, contents, epoch, progress, devices)
            try:
                with _nodes(devices, epoch) as nodes, host_program(command, reads=[root]) as tar:
                    words = [tar.words, *nodes, compressor]
                    pipeline(words, archive.write, log=log, pass_fds=[writer, *tar.descriptors])
            except StagewrightError:
                if listing.done() and (problem := listing.exception()):  # tar failed because the listing had failed
                    raise problem from None
                raise
            finally:
                os.close(writer)
        listing.result()
    return Packed(archive.digests, contents.digests)


@contextlib.contextmanager
def _nodes(devices: Sequence[DeviceNode], epoch: int) -> Iterator[list[list[str]]]:
    """Yield the command that puts device nodes in front of a tarball, if there are any."""
    if not devices:
        yield []
        return
    with temporary_folder("devices") as folder:
        file = folder / "headers"
        file.write_bytes(b"".join(node.tar_header(epoch) for node in devices))
        yield [["cat", str(file), "-"]]


def list_tree(
    root: Path, target: Path, *, epoch: int, log: IO[str] | None = None, devices: Sequence[DeviceNode] = ()
) -> FileDigests:
    """Write ``<target>.CONTENTS.gz`` as for a tarball of the tree below ``root``, without a tarball.

    GNU tar does not read files if the archive is /dev/null.
    """
    reader, writer = os.pipe()
    command = ["--file=/dev/null" if word == "--file=-" else word for word in _tar(root, epoch, f"/dev/fd/{writer}")]
    with DigestedFile(companion(target, "CONTENTS.gz")) as contents, ThreadPoolExecutor(1) as thread:
        listing = thread.submit(_list, reader, contents, epoch, lambda _: None, devices)
        try:
            with host_program(command, reads=[root]) as tar:
                pipeline([tar.words], lambda _: None, log=log, pass_fds=[writer, *tar.descriptors])
        finally:
            os.close(writer)
        listing.result()
    return contents.digests


def _list(
    reader: int, contents: DigestedFile, epoch: int, progress: PackProgress, devices: Sequence[DeviceNode]
) -> None:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done)

    with os.fdopen(reader, "rb") as listing:
        write_contents(itertools.chain((node.listing(epoch) for node in devices), listing), contents, epoch, count)


def _tar(root: Path, epoch: int, listing: str) -> list[str]:
    return [
        *("tar", "--create", "--file=-", "--sort=name", "--numeric-owner"),
        *("--format=posix", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"),
        *("--xattrs", "--xattrs-include=*"),
        *("--sparse", "--sparse-version=0.0", "--hole-detection=raw"),
        *(f"--mtime=@{epoch}", "--clamp-mtime", "--one-file-system"),
        *("-vv", f"--index-file={listing}", "--quoting-style=escape"),
        *(f"--directory={root}", "."),
    ]
