"""Kept folders of machines."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.folder import kept_folder


def test_a_folder_of_another_machine_is_busy(tmp_path: Path) -> None:
    with kept_folder(tmp_path), pytest.raises(StagewrightError) as caught, kept_folder(tmp_path):
        pass
    assert caught.value.reason is Reason.STORE_BUSY
    with kept_folder(tmp_path):
        pass


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
