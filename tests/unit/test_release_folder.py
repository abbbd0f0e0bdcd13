"""The folder of a release: files of artifacts become hard links, under names that nothing else has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.release.release_folder import link_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "boot").mkdir(parents=True)
    for name in ("boot.ipxe", "boot/gentoo", "DIGESTS"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def test_a_folder_of_an_artifact_can_have_a_file_called_digests(tree: Path, tmp_path: Path) -> None:
    assert link_files(tree, tmp_path / "1.0", "pxe") == ["pxe/DIGESTS", "pxe/boot.ipxe", "pxe/boot/gentoo"]
    assert (tmp_path / "1.0/pxe/boot/gentoo").samefile(tree / "boot/gentoo")


def test_a_name_that_the_release_or_another_artifact_has_is_refused(tree: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StagewrightError) as caught:
            link_files(tree, tmp_path / "1.0")
        assert caught.value.reason is Reason.DUPLICATE_NAME
        (tree / "DIGESTS").unlink(missing_ok=True)
        (tmp_path / "1.0").mkdir(exist_ok=True)
        (tmp_path / "1.0/boot.ipxe").touch()


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to("/etc"), os.mkfifo]
)
def test_links_and_devices_are_never_released(tree: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tree / "boot/strange")
    with pytest.raises(StagewrightError) as caught:
        link_files(tree, tmp_path / "1.0")
    assert caught.value.reason is Reason.BUILD_FAILED and "boot/strange" in str(caught.value)
    assert not (tmp_path / "1.0").exists(), "nothing was linked"
