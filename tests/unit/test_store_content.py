"""The list of a result's files: everything that a build can ship is in it, and every change is found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagewright.store.content import (
    Damage,
    Entry,
    Ids,
    KnownDigest,
    ListDamagedError,
    Reader,
    compare,
    fail,
    read_content,
    write_content,
)
from stagewright.trees import remove_tree

EPOCH = 1_763_596_800
DEPTH = 3000


def has_attributes(tree: Path) -> bool:
    """True if files of this file system can have attributes of users."""
    try:
        os.setxattr(tree, "user.probe", b"")
    except OSError:
        return False
    os.removexattr(tree, "user.probe")
    return True


def lay_out(tree: Path) -> Path:
    """Make a tree with every type of file."""
    for folder in ("etc", "usr/bin", "usr/share/deep/deeper"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc/motd").write_text("hello\n", encoding="utf-8")
    (tree / "usr/bin/tool").write_bytes(os.urandom(3 << 20))
    os.link(tree / "usr/bin/tool", tree / "usr/bin/tool2")
    (tree / "usr/bin/odd\n\udcff").write_text("odd", encoding="utf-8")
    (tree / "usr/share/link").symlink_to("=3")
    os.mkfifo(tree / "usr/pipe")
    if has_attributes(tree):
        os.setxattr(tree / "etc/motd", "user.note", b"kept")
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return tree


def entries(tree: Path, *, times: bool = True, ids: Ids | None = None) -> list[Entry]:
    return list(Reader(ids or Ids(), fail, times=times).entries(tree))


def flip(tree: Path) -> None:
    """Change one byte in the middle of a file, and hide that."""
    with (tree / "usr/bin/tool").open("r+b") as stream:
        stream.seek(1 << 20)
        old = stream.read(1)
        stream.seek(1 << 20)
        stream.write(bytes([old[0] ^ 1]))
    os.utime(tree / "usr/bin/tool", (EPOCH, EPOCH))


def separate(tree: Path) -> None:
    (tree / "usr/bin/tool2").unlink()
    (tree / "usr/bin/tool2").write_bytes((tree / "usr/bin/tool").read_bytes())
    for name in ("tool2", ""):
        os.utime(tree / "usr/bin" / name, (EPOCH, EPOCH))


def replace_link(tree: Path) -> None:
    (tree / "usr/share/link").unlink()
    (tree / "usr/share/link").symlink_to("=4")


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "a byte": (flip, ("tree/usr/bin/tool", "content")),
    "mode": (lambda tree: (tree / "etc/motd").chmod(0o600), ("tree/etc/motd", "mode")),
    "time": (lambda tree: os.utime(tree / "etc/motd", (1, 1)), ("tree/etc/motd", "time")),
    "attribute": (
        lambda tree: os.setxattr(tree / "etc/motd", "user.note", b"other"),
        ("tree/etc/motd", "attribute user.note"),
    ),
    "new attribute": (
        lambda tree: os.setxattr(tree / "usr", "user.new", b"1"),
        ("tree/usr", "attribute user.new"),
    ),
    "missing": (lambda tree: (tree / "etc/motd").unlink(), ("tree/etc/motd", "missing")),
    "added": (lambda tree: (tree / "etc/new").touch(), ("tree/etc/new", "added")),
    "type": (
        lambda tree: ((tree / "etc/motd").unlink(), (tree / "etc/motd").mkdir()),
        ("tree/etc/motd", "type"),
    ),
    "target of a link": (replace_link, ("tree/usr/share/link", "content")),
    "another file in place of a hard link": (separate, ("tree/usr/bin/tool2", "content")),
    "mode of the root": (lambda tree: tree.chmod(0o700), ("tree", "mode")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_every_change_is_found(tmp_path: Path, case: str) -> None:
    change, expected = CHANGES[case]
    if "attribute" in case and not has_attributes(tmp_path):
        pytest.skip("NOT TESTED: files of this file system have no attributes")
    tree = lay_out(tmp_path / "tree")
    digest = write_content([tree], tmp_path / "list", times=True)
    assert list(compare(read_content(tmp_path / "list", digest), entries(tree))) == []
    change(tree)
    found = list(compare(read_content(tmp_path / "list", digest), entries(tree)))
    assert expected in [(damage.path, damage.what) for damage in found], found


def test_owners_are_those_inside_the_namespace(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    own = os.getuid()
    (entry,) = entries(tmp_path / "tree", ids=Ids(own, 1))
    assert entry.owner == 0
    (other,) = entries(tmp_path / "tree", ids=Ids(own + 1, 1))
    assert other.owner == 65534


def test_a_missing_folder_is_one_difference(tmp_path: Path) -> None:
    tree = lay_out(tmp_path / "tree")
    before = entries(tree)
    (tree / "usr/share/deep").rename(tmp_path / "gone")
    whats = [(damage.path, damage.what) for damage in compare(before, entries(tree))]
    assert whats == [("tree/usr/share", "time"), ("tree/usr/share/deep", "missing")]


def test_times_of_artifacts_do_not_count(tmp_path: Path) -> None:
    tree = lay_out(tmp_path / "tree")
    before = entries(tree, times=False)
    os.utime(tree / "etc/motd")
    assert list(compare(before, entries(tree, times=False))) == []


def test_the_same_tree_gives_the_same_list(tmp_path: Path) -> None:
    tree = lay_out(tmp_path / "tree")
    digests = {write_content([tree], tmp_path / f"list{number}", times=True) for number in range(2)}
    assert len(digests) == 1
    assert (tmp_path / "list0").read_bytes() == (tmp_path / "list1").read_bytes()


def test_a_changed_list_is_not_believed(tmp_path: Path) -> None:
    tree = lay_out(tmp_path / "tree")
    digest = write_content([tree], tmp_path / "list", times=True)
    whole = (tmp_path / "list").read_bytes()
    for data in (whole[:-20], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b"no list"):
        (tmp_path / "list").write_bytes(data)
        with pytest.raises(ListDamagedError):
            list(read_content(tmp_path / "list", digest))


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A tree of 3000 folders in each other, with one at the bottom that is called x."""
    (tmp_path / "tree").mkdir()
    folder = os.open(tmp_path / "tree", os.O_RDONLY)
    for name in ["d"] * DEPTH + ["x"]:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    yield tmp_path / "tree"
    remove_tree(tmp_path / "tree")


@pytest.mark.slow
def test_a_deep_tree_has_a_short_list(deep: Path, tmp_path: Path) -> None:
    """The list grows with the number of folders, whatever their depth."""
    found = entries(deep, times=False)
    assert len(found) == DEPTH + 2
    (added,) = compare(found[:-1], found)
    assert added == Damage(".../" + "d/" * 2047 + "x", "added", "nothing", "a folder")
    write_content([deep], tmp_path / "list", times=False)
    assert (tmp_path / "list").stat().st_size < 50 * DEPTH


def test_a_file_that_was_digested_is_not_read_again(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("digested", "changed", "other"):
        (tree / name).write_text(name, encoding="utf-8")
    known = [KnownDigest.of(tree / name, "0" * 64) for name in ("digested", "changed")]
    (tree / "changed").write_text("changed since", encoding="utf-8")
    (tree / "digested").chmod(0o444)
    (tree / "digested").rename(tree / "renamed")
    digest = write_content([tree], tmp_path / "list", times=False, digested=known)
    found = {entry.name: entry.content for entry in read_content(tmp_path / "list", digest) if entry.type == "file"}
    assert found == {
        "renamed": "0" * 64,
        "changed": hashlib.sha256(b"changed since").hexdigest(),
        "other": hashlib.sha256(b"other").hexdigest(),
    }
