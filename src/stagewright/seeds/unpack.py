"""Unpacking archives that nobody vouches for: nothing outside the target folder can be touched (R: hostile-safe).

GNU tar runs in a sandbox where everything but the target is read-only and the network is off, so an escape would fail
even if tar let it happen; tar itself refuses names with ``..`` and does not write through links that it has not made
safe. Whatever it complains about makes the archive unfit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.run import run

COMPRESSORS = {b"\xfd7zXZ\x00": "xz", b"(\xb5/\xfd": "zstd", b"BZh": "bzip2", b"\x1f\x8b": "gzip"}
"""Programs by the first bytes of what they compress."""

_UNSAFE = re.compile(
    r"Member name contains '\.\.'|Removing leading|Not a directory|File exists|Cannot unlink", re.IGNORECASE
)
_INSIDE = "/mnt"


def unpack(archive: Path, target: Path, log: IO[str]) -> None:
    """Unpack a tarball into an empty folder.

    Raises ``UNSAFE_ARCHIVE`` for names and links that lead outside, ``BAD_ARCHIVE`` for anything that is damaged.
    """
    with archive.open("rb") as stream:
        head = stream.read(8)
    program = next((name for magic, name in COMPRESSORS.items() if head.startswith(magic)), None)
    words = [
        "tar",
        "--extract",
        "--file=/tmp/archive",
        f"--directory={_INSIDE}",
        "--numeric-owner",
        "--same-permissions",
    ]
    words += ["--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    words += ["--xattrs-exclude=trusted.overlay.*"]  # by these overlayfs would take folders for opaque or moved
    words += [f"--use-compress-program={program}"] if program else []
    box = ["bwrap", "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--ro-bind", str(archive.resolve()), "/tmp/archive"]
    box += ["--bind", str(target), _INSIDE, "--unshare-net", "--unshare-pid", "--die-with-parent", "--"]
    result = run([*box, *words], check=False)
    said = result.stderr.strip()
    log.write(said + "\n")
    shown = "\n".join(said.splitlines()[:8])
    if _UNSAFE.search(said):
        raise StagewrightError(
            Reason.UNSAFE_ARCHIVE,
            f"{archive.name} has members that lead out of the root",
            detail=shown,
            hint="get the archive from a source you trust; nothing of it was kept",
        )
    if result.code:
        raise StagewrightError(
            Reason.BAD_ARCHIVE, f"{archive.name} cannot be unpacked", detail=shown, hint="fetch the archive again"
        )
    if not any((target / name).exists() for name in ("usr", "bin", "etc")):
        raise StagewrightError(
            Reason.BAD_ARCHIVE,
            f"{archive.name} holds no root file system",
            hint="a seed has folders such as usr and etc at its top",
        )
