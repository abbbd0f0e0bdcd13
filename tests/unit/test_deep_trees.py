"""Trees that are deeper than Python's recursion limit, and whose paths are longer than the kernel takes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import read_features
from stagewright.portage.confdir_merge import merge_confdir
from stagewright.release.tree import read_tree
from stagewright.root.accounts import Home
from stagewright.root.budget import measure
from stagewright.root.files import clamp_times, copy_in, find, remove
from stagewright.root.homes import _copy, _give
from stagewright.root.local import _files_below
from stagewright.root.owners import check_owners
from stagewright.root.root import Root
from stagewright.root.systemd import _links_below
from stagewright.seeds.oci_image import translate_whiteouts
from stagewright.trees import files_below, remove_tree, tree_size, walk_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")

DEPTH = 3000
NAME = "d"


def dig(folder: Path, depth: int, *files: str) -> None:
    """Make folders in each other, with these files in the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    current = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(NAME, dir_fd=current)
        inner = os.open(NAME, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    for file in files:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=current))
    os.close(current)


def deepest(folder: Path) -> dict[str, os.stat_result]:
    """The files in the last folder, and the folder."""
    found: dict[str, os.stat_result] = {}
    for step in walk_tree(folder):
        if len(step.names) == DEPTH:
            found = {file.name: file.stat(follow_symlinks=False) for file in step.files}
            found["."] = os.fstat(step.folder)
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where thousands of folders take no time."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield path
    remove_tree(path)
    assert not path.exists()


@pytest.fixture
def root(place: Path) -> Path:
    path = place / "root"
    dig(path / "deep", DEPTH, "file", ".wh.gone")
    (path / "etc").mkdir()
    for name in ("passwd", "group"):
        (path / "etc" / name).write_text("root:x:0:0::/root:/bin/sh\n" if name == "passwd" else "root:x:0:\n")
    return path


def test_folders_of_any_depth_are_walked_through(root: Path) -> None:
    assert sys.getrecursionlimit() < DEPTH
    clamp_times(root, 5)
    assert {info.st_mtime for info in deepest(root / "deep").values()} == {5}
    translate_whiteouts(root)
    assert set(deepest(root / "deep")) == {"file", "gone", "."}
    assert measure(root)["/deep/d"] == 0
    assert tree_size(root) > DEPTH
    check_owners(root)


def test_files_of_unknown_owners_are_found_at_any_depth(root: Path) -> None:
    inside(root, _give, Home("/deep", 77, 78, make=True, own=True, keys=()))
    assert {(info.st_uid, info.st_gid) for info in deepest(root / "deep").values()} == {(77, 78)}
    with pytest.raises(StagewrightError) as caught:
        check_owners(root)
    assert "77:78" in caught.value.detail


def test_folders_of_any_depth_are_removed(root: Path) -> None:
    assert remove(root, ["/deep"]) == []
    assert not (root / "deep").exists()


@pytest.mark.slow
def test_a_path_that_the_kernel_does_not_take_is_an_error(root: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        find(root, ["/**/file"])
    assert caught.value.reason is Reason.BUILD_FAILED
    for function in (
        lambda: files_below(root / "deep"),
        lambda: inside(root, _files_below, "/deep"),
        lambda: inside(root, _copy, "/deep", "/etc", Home("/etc", 77, 78, make=True, own=True, keys=()), 0),
        lambda: copy_in(root, root / "deep", epoch=0, target="/etc"),
        lambda: merge_confdir(root / "deep", root / "etc", 0),
        lambda: read_tree(root),
        lambda: Tree(root).copy_tree_out("deep", root / "copy", lambda _: False, 1),
    ):
        with pytest.raises(OSError, match="File name too long"):
            function()


@pytest.mark.slow
def test_folders_of_usual_paths_are_deep_enough(place: Path) -> None:
    """Deeper than Python's recursion, but with paths that the kernel takes."""
    depth = 1500
    root = place / "root"
    dig(root / "lib/modules/1/kernel", depth, "a.ko")
    (root / "units/x.wants").mkdir(parents=True)
    (root / "units/x.wants/y.service").symlink_to("/usr/lib/y.service")
    assert read_features(Root(root, root), "1").modules == {"a"}
    assert len(find(root, ["/lib/**/a.ko"])["/lib/**/a.ko"]) == 1
    assert inside(root, _links_below, Path("/units")) == [Path("/units/x.wants/y.service")]
    copy_in(root, root / "lib", epoch=7, target="/copy")
    assert len(files_below(root / "copy")) == 1
    assert (root / "copy/modules").stat().st_mtime == 7
    Tree(root).copy_tree_out("copy", place / "copy", lambda _: False, 1)
    assert len(files_below(place / "copy")) == 1
    assert (place / "copy/modules").stat().st_mtime == 7
    merge_confdir(root / "lib", root / "units", 0)
    assert len(read_tree(root / "units").entries) == depth + 7
