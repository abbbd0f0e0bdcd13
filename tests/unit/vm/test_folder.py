"""Folders of machines: locks, and what killed processes leave."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.vm import folder as folders
from stagewright.vm.folder import kept_folder, temporary_folder

HOLDER = """
import sys, time
from pathlib import Path
from stagewright.vm.folder import kept_folder, temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder, kept_folder(Path(sys.argv[2])):
    (folder / "key").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


def test_folders_of_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs its folders are in use; after its end they are removed, or free."""
    monkeypatch.setattr(folders, "NEW", -1.0)
    words = [sys.executable, "-c", HOLDER, str(tmp_path), str(tmp_path / "kept")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        theirs = Path(holder.stdout.readline().strip())
        with temporary_folder(tmp_path) as ours:
            assert ours != theirs
            assert theirs.exists()
        assert not ours.exists()
        with pytest.raises(StagewrightError) as caught, kept_folder(tmp_path / "kept"):
            pass
        assert caught.value.reason is Reason.STORE_BUSY
        holder.kill()
    (theirs.parent / f"{folders.PREFIX}link").symlink_to(tmp_path / "kept")
    with temporary_folder(tmp_path), kept_folder(tmp_path / "kept"):
        assert not theirs.exists()
    assert (tmp_path / "kept").exists()


def test_a_new_folder_stays(tmp_path: Path) -> None:
    """Its process may not have locked it yet."""
    new = tmp_path / f"{folders.PREFIX}new"
    new.mkdir()
    old = tmp_path / f"{folders.PREFIX}old"
    old.mkdir()
    os.utime(old, (0, 0))
    with temporary_folder(tmp_path):
        assert new.exists()
        assert not old.exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StagewrightError) as caught, kept_folder(tmp_path / "file" / "folder"):
        pass
    assert caught.value.reason is Reason.NOT_ROOT


def test_a_full_file_system_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught, kept_folder(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.reason is Reason.DISK_FULL
    assert str(tmp_path) in caught.value.message
