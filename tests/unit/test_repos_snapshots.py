"""Local snapshots of a repository, unpacked into the cache by their digest."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.snapshots import unpacked_snapshot

pytestmark = pytest.mark.skipif(not shutil.which("mksquashfs"), reason="NOT TESTED: mksquashfs is not installed")


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Return a squashfs image of a repository with one file."""
    (tmp_path / "repo/profiles").mkdir(parents=True)
    (tmp_path / "repo/profiles/repo_name").write_text("gentoo\n", encoding="utf-8")
    file = tmp_path / "gentoo.sqfs"
    subprocess.run(["mksquashfs", tmp_path / "repo", file, "-quiet", "-no-progress"], check=True, capture_output=True)
    return file


def test_a_snapshot_is_unpacked_once(snapshot: Path, tmp_path: Path) -> None:
    cache = RepositoryCache.of(tmp_path / "store")
    tree = unpacked_snapshot(snapshot, cache, io.StringIO())
    assert (tree / "profiles/repo_name").read_text(encoding="utf-8") == "gentoo\n"
    (tree / "marker").touch()
    copy = tmp_path / "other-name.sqfs"
    shutil.copy(snapshot, copy)
    assert unpacked_snapshot(copy, cache, io.StringIO()) == tree
    assert (tree / "marker").exists()
    assert [path.name for path in tree.parent.iterdir()] == [tree.name]


def test_an_invalid_squashfs_leaves_no_tree(tmp_path: Path) -> None:
    cache = RepositoryCache.of(tmp_path / "store")
    (tmp_path / "x.sqfs").write_text("nothing of the kind", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        unpacked_snapshot(tmp_path / "x.sqfs", cache, io.StringIO())
    assert caught.value.reason is Reason.BAD_ARCHIVE
    assert list((cache.folder / "trees").iterdir()) == []
