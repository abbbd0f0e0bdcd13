"""The memory of the store for a tree: the digest is the same with and without it, and unchanged files are not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stagewright.graph.file_digest import ALL_BITS, REPOSITORY_BITS, tree_digest
from stagewright.store.tree_memory import FolderMemory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a bit of everything."""
    root = tmp_path / "tree"
    for name in ("a/one", "a/b/two", "c/three"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    (root / "link").symlink_to("a")
    (root / "empty").mkdir()
    return root


def digest(tree: Path, bits: int = ALL_BITS) -> tuple[str, list[int]]:
    """The digest with the memory of the last time, and how many entries of each folder that was read."""
    read: list[int] = []
    with FolderMemory(tree.parent / "trees", tree, str(bits)) as memory:
        return tree_digest(tree, bits=bits, memory=memory, report=read.append), read


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files count as unchanged for a long time."""
    monkeypatch.setattr("stagewright.store.tree_memory.SETTLED", -100.0)


@pytest.mark.usefixtures("settled")
def test_only_files_of_changed_folders_are_read(tree: Path) -> None:
    first, read = digest(tree)
    assert (first, len(read)) == (tree_digest(tree), 5)
    assert digest(tree) == (first, [])
    (tree / "a/b/two").write_text("other", encoding="utf-8")
    second, read = digest(tree)
    assert second == tree_digest(tree) != first
    assert read == [1]
    (tree / "a/b/two").unlink()
    assert digest(tree)[0] == tree_digest(tree)


@pytest.mark.usefixtures("settled")
def test_a_tree_that_is_the_same_is_not_put_together_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = digest(tree)

    def refused(*_: object) -> bytes:
        raise AssertionError("the lines were read")

    monkeypatch.setattr(FolderMemory, "lines", refused)
    assert digest(tree) == (first, [])
    monkeypatch.undo()
    (tree / "c/new").touch()
    assert digest(tree)[0] == tree_digest(tree)


def swap(file: Path) -> None:
    info = file.stat()
    file.write_text("A/ONE", encoding="utf-8")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))  # the time of the change is still another one


CHANGES: dict[str, Callable[[Path], object]] = {
    "same size and time": lambda root: swap(root / "a/one"),
    "mode": lambda root: (root / "c/three").chmod(0o600),
    "mode of a folder": lambda root: (root / "empty").chmod(0o700),
    "a folder less": lambda root: (root / "empty").rmdir(),
    "a link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("c")),
    "a new file": lambda root: (root / "empty/new").touch(),
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_found(tree: Path, change: Callable[[Path], object]) -> None:
    before, _ = digest(tree)
    os.utime(tree / "a/one", (1, 1))
    digest(tree)
    change(tree)
    after, _ = digest(tree)
    assert after == tree_digest(tree) != before


def test_folders_with_files_that_have_just_changed_are_read_again(tree: Path) -> None:
    digest(tree)
    (tree / "a/one").touch()
    _, read = digest(tree)
    assert read


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [b"", b"x", b"stagewright-tree-2 0000\nxyz"])
def test_a_damaged_memory_costs_only_time(tree: Path, damage: bytes) -> None:
    first, read = digest(tree)
    (file,) = (tree.parent / "trees").iterdir()
    file.write_bytes(damage)
    assert digest(tree) == (first, read)


@pytest.mark.usefixtures("settled")
def test_the_bits_that_count_have_memories_apart(tree: Path) -> None:
    first, _ = digest(tree, REPOSITORY_BITS)
    digest(tree)
    (tree / "a/one").chmod(0o664)
    assert digest(tree, REPOSITORY_BITS)[0] == first
