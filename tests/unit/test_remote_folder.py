"""A remote in a folder: it takes files of its callers only if these say so, and only where it can."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from stagewright.remote.file_places import FolderPlace
from stagewright.remote.place import Blob, blob_path

CONTENT = b"content of a pack"
BLOB = Blob(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def put(folder: Path, *, own: bool) -> tuple[Path, Path]:
    """Upload a file, and return its path and that of the blob."""
    source = folder / "pack"
    source.write_bytes(CONTENT)
    source.chmod(0o600)
    FolderPlace(folder / "remote").put(BLOB, source, own=own)
    return source, folder / "remote" / blob_path(BLOB.digest)


def test_a_file_that_the_caller_keeps_is_copied(tmp_path: Path) -> None:
    source, blob = put(tmp_path, own=False)
    source.write_bytes(b"changed afterwards")
    assert blob.read_bytes() == CONTENT


def test_a_file_that_the_caller_gives_away_is_not_copied(tmp_path: Path) -> None:
    source, blob = put(tmp_path, own=True)
    assert blob.samefile(source)
    source.unlink()
    assert (blob.read_bytes(), blob.stat().st_mode & 0o777, blob.stat().st_nlink) == (CONTENT, 0o644, 1)


def test_a_file_on_another_file_system_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refused)
    source, blob = put(tmp_path, own=True)
    assert blob.read_bytes() == CONTENT
    assert not blob.samefile(source)
