"""Differences between two trees of files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stagewright.release.tree import PathChange, Tree, TreeEntry, path_changes, read_tree


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return a tree and its copy."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "usr").mkdir(parents=True)
    (old / "usr/file").write_bytes(b"x" * 3_000_000)
    (old / "usr/link").symlink_to("file")
    (old / "usr/twin").hardlink_to(old / "usr/file")
    shutil.copytree(old, new, symlinks=True)
    (new / "usr/twin").unlink()
    (new / "usr/twin").hardlink_to(new / "usr/file")
    return old, new


def differing(pair: tuple[Path, Path]) -> dict[str, tuple[str, ...]]:
    old, new = map(read_tree, pair)
    return {change.path: change.what for change in path_changes(old, new)}


def test_a_copy_does_not_differ(pair: tuple[Path, Path]) -> None:
    os.utime(pair[1] / "usr/file", (5, 5))
    assert differing(pair) == {}


@pytest.mark.parametrize(
    ("change", "path", "what"),
    [
        (lambda new: (new / "usr/link").unlink() or (new / "usr/link").symlink_to("twin"), "/usr/link", ("target",)),
        (lambda new: (new / "usr/link").unlink() or (new / "usr/link").mkdir(), "/usr/link", ("type",)),
        (lambda new: (new / "usr").chmod(0o700), "/usr", ("mode",)),
        (lambda new: (new / "usr/more").touch(), "/usr/more", ()),
        (lambda new: (new / "usr/link").unlink(), "/usr/link", ()),
    ],
)
def test_a_change_is_reported(
    change: Callable[[Path], None], path: str, what: tuple[str, ...], pair: tuple[Path, Path]
) -> None:
    change(pair[1])
    assert differing(pair) == {path: what}


def test_different_content_of_the_same_size_is_reported(pair: tuple[Path, Path]) -> None:
    with (pair[1] / "usr/file").open("r+b") as stream:
        stream.seek(2_999_999)
        stream.write(b"y")
    assert differing(pair) == {"/usr/file": ("content",), "/usr/twin": ("content",)}


def test_sizes_count_hard_links_once(pair: tuple[Path, Path]) -> None:
    old = read_tree(pair[0])
    assert old.size == 3_000_000
    (pair[1] / "usr/more").hardlink_to(pair[1] / "usr/file")
    (found,) = path_changes(old, read_tree(pair[1]))
    assert (found.path, found.growth, found.size) == ("/usr/more", 0, 0)
    assert read_tree(pair[1]).size == 3_000_000


def test_properties_missing_on_one_side_are_not_compared(pair: tuple[Path, Path]) -> None:
    listed = Tree(
        {
            path: TreeEntry(entry.mode, entry.owner, entry.size, entry.target)
            for path, entry in read_tree(pair[0]).entries.items()
        }
    )
    (pair[1] / "usr/file").write_bytes(b"z" * 3_000_000)
    assert path_changes(listed, read_tree(pair[1])) == []
    (pair[1] / "usr/file").write_bytes(b"z")
    first, *_ = path_changes(listed, read_tree(pair[1]))
    assert (first.path, first.growth) == ("/usr/file", 1 - 3_000_000)


def test_paths_with_skipped_suffixes_are_left_out(pair: tuple[Path, Path]) -> None:
    assert "/usr/file" not in read_tree(pair[0], skip=["file"]).entries


def test_the_growth_of_a_change() -> None:
    small, large = TreeEntry("-rw-r--r--", "0/0", 1), TreeEntry("-rw-r--r--", "0/0", 10)
    assert (
        PathChange("/a", small, large).growth,
        PathChange("/a", large, None).growth,
        PathChange("/a", None, small).size,
    ) == (
        9,
        -10,
        1,
    )
