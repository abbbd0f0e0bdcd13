"""Unpacking archives that nobody vouches for: nothing outside the target folder can be touched (R: hostile-safe).

Three programs side by side: a decompressor, our look at the headers on their way (:mod:`tarscan`), and GNU tar in a
sandbox where everything but the target is read-only and the network is off. So an escape would fail even if tar let it
happen; tar itself does not write through links that it has not made safe. Whatever it complains about makes the archive
unfit, and so does what is larger than its archive can honestly be.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.root.sandbox import unpacker
from stagewright.run import NO_ROOM, PIPE, paste, pipeline, spawn, widen
from stagewright.seeds.tarscan import Bounds, TarScan

COMPRESSORS = {
    b"\xfd7zXZ\x00": ("xz", "--threads=0"),
    b"(\xb5/\xfd": ("zstd", "--long=31"),
    b"BZh": ("bzip2",),
    b"\x1f\x8b": ("gzip",),
}
"""Programs by the first bytes of what they compress."""

_UNSAFE = re.compile(
    r"Member name contains '\.\.'|Removing leading|Not a directory|File exists|Cannot unlink", re.IGNORECASE
)
_INSIDE = "/mnt"


def unpack(archive: Path, target: Path, log: IO[str], bounds: Bounds | None = None, *, name: str = "") -> TarScan:
    """Unpack a tarball into an empty folder, and return what it held. ``name`` is what errors call it.

    Raises ``UNSAFE_ARCHIVE`` for names and links that lead outside, ``ARCHIVE_TOO_LARGE`` for more than the bounds
    (default: those of its size), ``BAD_ARCHIVE`` for anything that is damaged.
    """
    name = name or archive.name
    scan = TarScan(name, bounds or Bounds.of(archive.stat().st_size))
    with tempfile.TemporaryFile() as said:
        command = _tar(target, scan.bounds)
        tar = spawn(command, stdin=PIPE, stdout=said, stderr=said)
        assert tar.stdin
        widen(tar.stdin)

        def pass_on(chunk: bytes) -> None:
            scan.feed(chunk)
            with contextlib.suppress(BrokenPipeError):  # tar has given up, and says why
                tar.stdin.write(chunk)  # type: ignore[union-attr]

        damage = None
        try:
            pipeline([_decompress(archive)], pass_on, log=log)
        except StagewrightError as error:
            if error.reason is not Reason.COMMAND_FAILED:
                raise
            damage = error
        finally:
            with contextlib.suppress(BrokenPipeError):
                tar.stdin.close()  # it ends by itself: one that is killed might still write for a moment
            code = tar.wait()
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    log.write(f"+ {paste(command)}\n{text}\n")
    _judge(name, code, text, damage)
    return scan


def check_root(tree: Path, name: str) -> None:
    """Raise ``BAD_ARCHIVE`` for a tree that is no root file system."""
    if not any((tree / part).exists() for part in ("usr", "bin", "etc")):
        raise StagewrightError(
            Reason.BAD_ARCHIVE,
            f"{name} holds no root file system",
            hint="a seed has folders such as usr and etc at its top",
        )


def _decompress(archive: Path) -> Sequence[str]:
    with archive.open("rb") as stream:
        head = stream.read(8)
    program = next((words for magic, words in COMPRESSORS.items() if head.startswith(magic)), None)
    if program is None:
        return ["cat", str(archive)]
    return [*program, "--decompress", "--stdout", str(archive)]


def _tar(target: Path, bounds: Bounds) -> Sequence[str]:
    """GNU tar in its box, reading from standard input; no file that it writes can be larger than all may be."""
    words = ["tar", "--extract", "--file=-", f"--directory={_INSIDE}", "--numeric-owner", "--same-permissions"]
    words += ["--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    words += ["--xattrs-exclude=trusted.overlay.*"]  # by these overlayfs would take folders for opaque or moved
    return unpacker(target, _INSIDE, ["prlimit", f"--fsize={bounds.size}", "--", *words])


def _judge(name: str, code: int, said: str, damage: StagewrightError | None) -> None:
    """Raise for what tar or the decompressor did not like."""
    shown = "\n".join(said.splitlines()[:8])
    if NO_ROOM in said:
        raise StagewrightError(Reason.DISK_FULL, f"no space left on the disk for {name}", detail=shown)
    if _UNSAFE.search(said):
        raise StagewrightError(
            Reason.UNSAFE_ARCHIVE,
            f"{name} has members that lead out of the root",
            detail=shown,
            hint="get the archive from a source you trust; nothing of it was kept",
        )
    if code or damage:
        detail = "\n".join(filter(None, [damage.detail if damage else "", shown]))
        raise StagewrightError(
            Reason.BAD_ARCHIVE, f"{name} cannot be unpacked", detail=detail, hint="fetch the archive again"
        )
