"""The memory of the store for folders of large trees, so that a plan reads only files that have changed.

There is a file for each tree, ``cache/trees/<id>``: a line with the version of the format and a digest, and then by
marshal the digest of the tree, the signature of each folder and its lines (``graph/file_digest.py``). It is read and
written as a whole: with 150,000 files, this takes less time than looking up each of them. The lines are packed once
more, because a tree that is the same does not need them. A file that is lost, damaged or on a full disk costs only
time.
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

_FORMAT = b"stagewright-tree-2 "
_DAY = 86400


class FolderMemory:
    """The memory of one tree. It is a context manager, which writes on leaving what is new.

    ``folder`` is ``cache/trees`` of the store; without it, nothing is remembered. ``variant`` is the way in
    which the tree is digested.
    """

    def __init__(self, folder: Path | None, tree: Path, variant: str = "") -> None:
        name = hashlib.sha256(f"{variant}\0{tree.absolute()}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._file = folder / name if folder else None
        self._digest, self._old, self._packed = _read(self._file) if self._file else _NOTHING
        self._old_lines: dict[str, bytes] | None = None
        self._new: dict[str, bytes] = {}
        self._new_lines: dict[str, bytes] = {}
        self._changed = False
        self._begun = time.time()

    def is_same(self, folder: str, signature: bytes) -> bool:
        """Return True for the signature of the last time."""
        if self._old.get(folder) != signature:
            return False
        self._new[folder] = signature
        return True

    def lines(self, folder: str) -> bytes:
        """Return the lines of a folder that is the same."""
        if self._old_lines is None:
            self._old_lines = marshal.loads(self._packed)  # noqa: S302  as below
        assert self._old_lines is not None
        return self._old_lines[folder]

    def whole(self, folders: int) -> str | None:
        """Return the digest of the tree, if so many folders are all that it had."""
        return self._digest if folders == len(self._old) else None

    def keep(self, folder: str, signature: bytes, lines: bytes, *, newest: int) -> None:
        """Remember the lines of a folder, unless a file in it has changed just now (time stamps are only so fine)."""
        self._changed = True
        if newest / 1e9 < self._begun - SETTLED:
            self._new[folder], self._new_lines[folder] = signature, lines

    def keep_whole(self, digest: str) -> None:
        """Remember the digest of the tree."""
        self._digest, self._changed = digest, True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error or not self._file:
            return
        with contextlib.suppress(OSError):  # the disk is full
            if self._changed:
                new = self._new_lines
                lines = {name: new[name] if name in new else self.lines(name) for name in self._new}
                data = marshal.dumps((self._digest, self._new, marshal.dumps(lines)))
                self._file.parent.mkdir(exist_ok=True)
                write_atomically(self._file, _FORMAT + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            elif self._file.exists() and self._file.stat().st_mtime < time.time() - _DAY:
                os.utime(self._file)  # gc removes memories of trees that no plan read for a long time


_Remembered = tuple[str | None, dict[str, bytes], bytes]
"""The digest of a tree, the signatures of its folders, and their lines, by marshal."""

_NOTHING: _Remembered = None, {}, b""


def _read(file: Path) -> _Remembered:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
    except OSError:
        return _NOTHING
    if head != _FORMAT + hashlib.sha256(data).hexdigest().encode():
        return _NOTHING
    found: _Remembered = marshal.loads(data)  # noqa: S302  the digest says that this module wrote it
    return found
