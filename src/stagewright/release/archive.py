"""Packing a root: GNU tar into a compressor, digested on its way to the disk, contents listed on the side; one pass.

GNU tar with sorted names, numeric owners, extended attributes (ACLs and capabilities are such), clamped times, so that
equal roots give equal files. ``--sparse-version=0.0`` because the others write tar's process id into the archive, holes
by content because file systems disagree about where they are.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.errors import StagewrightError
from stagewright.release.artifact_digests import DigestedFile, FileDigests, companion
from stagewright.release.listing import write_contents
from stagewright.run import pipeline

MEMORY = 2048
"""MiB that a compressor may take, unless two of its threads need more."""

_DICTIONARY = (0.25, 1, 2, 4, 4, 8, 8, 16, 32, 64)
"""MiB of xz's dictionary by level (xz(1))."""

Progress = Callable[[int], None]


class Compression(enum.StrEnum):
    """How a tarball is compressed, by the ending of its name."""

    ZSTD = "zst"
    XZ = "xz"
    BZIP2 = "bz2"
    GZIP = "gz"
    NONE = "none"

    @property
    def suffix(self) -> str:
        """The ending of a tarball's name."""
        return "tar" if self is Compression.NONE else f"tar.{self.value}"

    @property
    def program(self) -> str:
        """The compressor; cat(1) for none."""
        return {"zst": "zstd", "xz": "xz", "bz2": "bzip2", "gz": "gzip", "none": "cat"}[self.value]

    @property
    def level(self) -> int:
        """The level when nobody says."""
        return {"xz": 6, "none": 0}.get(self.value, 9)

    @property
    def highest(self) -> int:
        """The highest level."""
        return {"zst": 19, "none": 0}.get(self.value, 9)

    def memory(self, level: int, threads: int = 2) -> int:
        """MiB that the compressor takes at most (measured: 21 times the dictionary for each thread of xz)."""
        if self is Compression.ZSTD:
            return threads * (80 if level <= 12 else 220)
        if self is Compression.XZ:
            return int(threads * max(20, 21 * _DICTIONARY[level]))
        return 16  # one thread with blocks of 900 kB at the most (bzip2(1))

    def command(self, level: int, cores: int) -> list[str]:
        """The compressor, for as many cores as :data:`MEMORY` allows.

        xz has two threads or more, since one gives different bytes; from two on their number does not matter, and
        that of zstd's never does. Its limit makes xz fail rather than take more memory or another dictionary.
        bzip2 and gzip have one.
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
    """What packing made: the tarball and its listing."""

    archive: FileDigests
    contents: FileDigests


def pack(
    root: Path,
    target: Path,
    compressor: list[str],
    *,
    epoch: int,
    log: IO[str] | None = None,
    progress: Progress = lambda _: None,
) -> Packed:
    """Pack the tree below ``root`` into ``target`` and list it in ``<target>.CONTENTS.gz``.

    ``progress`` is told the bytes on disk of what was begun so far, from another thread. Raises ``COMMAND_FAILED`` when
    tar or the compressor fails; a full disk is the OSError that it is.
    """
    reader, writer = os.pipe()
    command = _tar(root, epoch, f"/dev/fd/{writer}")
    with DigestedFile(target) as archive, DigestedFile(companion(target, "CONTENTS.gz")) as contents:
        with ThreadPoolExecutor(1) as thread:
            listing = thread.submit(_list, reader, contents, epoch, progress)
            try:
                pipeline([command, compressor], archive.write, log=log, pass_fds=[writer])
            except StagewrightError:
                if listing.done() and (problem := listing.exception()):  # tar failed for lack of a reader
                    raise problem from None
                raise
            finally:
                os.close(writer)
        listing.result()
    return Packed(archive.digests, contents.digests)


def list_tree(root: Path, target: Path, *, epoch: int, log: IO[str] | None = None) -> FileDigests:
    """List the tree below ``root`` in ``<target>.CONTENTS.gz`` as a tarball of it would be, without making one.

    GNU tar reads no file that would go to /dev/null.
    """
    reader, writer = os.pipe()
    command = ["--file=/dev/null" if word == "--file=-" else word for word in _tar(root, epoch, f"/dev/fd/{writer}")]
    with DigestedFile(companion(target, "CONTENTS.gz")) as contents, ThreadPoolExecutor(1) as thread:
        listing = thread.submit(_list, reader, contents, epoch, lambda _: None)
        try:
            pipeline([command], lambda _: None, log=log, pass_fds=[writer])
        finally:
            os.close(writer)
        listing.result()
    return contents.digests


def _list(reader: int, contents: DigestedFile, epoch: int, progress: Progress) -> None:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done)

    with os.fdopen(reader, "rb") as listing:
        write_contents(listing, contents, epoch, count)


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
