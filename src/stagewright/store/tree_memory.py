"""The memory of the store for folders of large trees, so that a plan reads only files that have changed.

There is a file for each tree, ``cache/trees/<id>``: a line with the version of the format and a digest, and then the
signature and the lines of each folder (``graph/file_digest.py``), by marshal. It is read and written as a whole: with
150,000 files, this takes less time than looking up each of them. A file that is lost, damaged or on a full disk costs
only time.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from stagewright.store.digest_cache import SETTLED
from stagewright.store.durable import write_atomically

_FORMAT = b"stagewright-tree-1 "
_DAY = 86400


class FolderMemory:
    """The memory of one tree. It is a context manager, which writes on leaving what is new.

    ``folder`` is ``cache/trees`` of the store; without it, nothing is remembered. ``variant`` is the way in
    which the tree is digested.
    """

    def __init__(self, folder: Path | None, tree: Path, variant: str = "") -> None:
        name = hashlib.sha256(f"{variant}\0{tree.absolute()}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._file = folder / name if folder else None
        self._old = _read(self._file) if self._file else {}
        self._new: dict[str, tuple[bytes, bytes]] = {}
        self._changed = False

    def known(self, folder: str, signature: bytes) -> bytes | None:
        """Return the lines of a folder, or None if the signature is another one."""
        entry = self._old.get(folder)
        if entry is None or entry[0] != signature:
            return None
        self._new[folder] = entry
        return entry[1]

    def keep(self, folder: str, signature: bytes, lines: bytes, *, newest: int) -> None:
        """Remember the lines of a folder, unless a file in it has changed just now (time stamps are only so fine)."""
        self._changed = True
        if newest / 1e9 < time.time() - SETTLED:
            self._new[folder] = signature, lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error or not self._file:
            return
        with contextlib.suppress(OSError):  # the disk is full
            if self._changed or len(self._new) != len(self._old):
                data = marshal.dumps(self._new)
                self._file.parent.mkdir(exist_ok=True)
                write_atomically(self._file, _FORMAT + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            elif self._file.exists() and self._file.stat().st_mtime < time.time() - _DAY:
                os.utime(self._file)  # gc removes memories of trees that no plan read for a long time


def _read(file: Path) -> dict[str, tuple[bytes, bytes]]:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if head != _FORMAT + hashlib.sha256(data).hexdigest().encode():
        return {}
    found: dict[str, tuple[bytes, bytes]] = marshal.loads(data)  # noqa: S302  the digest says that this module wrote it
    return found
