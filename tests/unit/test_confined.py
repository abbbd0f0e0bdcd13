"""Files of a tree that others wrote: no link leads out, nothing blocks, nothing is read without a limit."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagewright import confined
from stagewright.confined import Tree


@pytest.fixture(params=["openat2", "thread"])
def tree(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tree with links to files outside; also as on a kernel without openat2(2)."""
    if request.param == "thread":
        monkeypatch.setattr(confined, "_openat2", lambda *_: None)
    host, folder = tmp_path / "host", tmp_path / "tree"
    (host / "folder").mkdir(parents=True)
    (host / "secret").write_text("host", encoding="utf-8")
    (host / "secret").chmod(0o600)
    (folder / "etc").mkdir(parents=True)
    (folder / "usr/lib").mkdir(parents=True)
    (folder / "etc/file").write_text("tree", encoding="utf-8")
    (folder / "usr/lib/inner").write_text("inner", encoding="utf-8")
    for name, target in {
        "etc/absolute": host / "secret",
        "etc/up": "../../host/secret",
        "etc/folder": host / "folder",
        "etc/loop": "loop",
        "etc/root": "/etc/file",
        "lib": "usr/lib",
        "etc/process": "/proc/self/root",
    }.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "etc/pipe")
    yield folder
    assert (host / "secret").read_text(encoding="utf-8") == "host"
    assert stat.S_IMODE((host / "secret").stat().st_mode) == 0o600
    assert list((host / "folder").iterdir()) == []


OUTSIDE = ["etc/absolute", "etc/up", "etc/loop", "etc/process/etc/passwd", "etc/folder", "etc/pipe", "etc", "none"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_and_nothing_special_is_read(tree: Path, name: str) -> None:
    for links in (True, False):
        with pytest.raises(OSError) as caught:
            Tree(tree, links=links).read(name)
        assert caught.value.filename == name


def test_a_special_file_is_only_looked_at(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device can have an effect, such as a watchdog that starts."""
    found: list[int] = []
    real = Tree._open

    def record(self: Tree, name: str, flags: int, mode: int) -> int:
        found.append(flags)
        return real(self, name, flags, mode)

    monkeypatch.setattr(Tree, "_open", record)
    for access in (Tree.read, lambda it, name: it.chmod(name, 0o600)):
        with pytest.raises(OSError):
            access(Tree(tree), "etc/pipe")
    assert found and all(flags & os.O_PATH for flags in found)


def test_names_that_no_file_can_have(tree: Path) -> None:
    """The kernel would take the part of a name before a NUL."""
    for name in ("etc/file\0.txt", "x" * 300, "etc/" + "x/" * 2500):
        assert Tree(tree).stat(name) is None
        assert Tree(tree).names(name) == []
        with pytest.raises(OSError):
            Tree(tree).read(name)


def test_links_are_followed_inside_only_if_they_may_be(tree: Path) -> None:
    assert Tree(tree).text("etc/root") == "tree" and Tree(tree).text("/lib/inner") == "inner"
    assert Tree(tree).text("etc/../../../etc/file") == "tree", ".. ends at the tree"
    for name in ("etc/root", "lib/inner"):
        with pytest.raises(OSError):
            Tree(tree, links=False).text(name)
        assert Tree(tree, links=False).stat(name) is None
    assert Tree(tree).is_link("lib") and Tree(tree).link("lib") == "usr/lib"
    assert Tree(tree).is_dir("lib") and not Tree(tree, links=False).is_dir("lib")
    assert Tree(tree).is_file("etc/root") and not Tree(tree).is_file("etc/absolute")
    assert Tree(tree).names("etc/folder") == [] and "file" in Tree(tree).names("etc")


def test_a_folder_that_is_renamed_all_the_time_does_not_stop_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> int:
        ctypes.set_errno(errno.EAGAIN)
        return -1

    monkeypatch.setattr(confined, "_c_library", SimpleNamespace(syscall=busy))
    with pytest.raises(OSError) as caught:
        Tree(tmp_path).read("file")
    assert caught.value.errno == errno.EAGAIN


def test_reading_has_a_limit(tree: Path) -> None:
    with pytest.raises(OSError, match="too large"):
        Tree(tree).read("etc/file", limit=3)
    assert Tree(tree).tail("etc/file", 2) == "ee"


def test_writing_replaces_a_link_and_makes_no_file_outside(tree: Path) -> None:
    found = Tree(tree)
    for name in ("etc/absolute", "etc/up", "etc/new", "lib/inner"):
        found.write(name, b"new", 0o640)
        assert found.text(name) == "new" and stat.S_IMODE((tree / name).stat().st_mode) == 0o640
    for name in ("etc/folder/new", "etc/process/new"):
        with pytest.raises(OSError):
            found.write(name, b"new")
    found.chmod("etc/root", 0o600)
    assert stat.S_IMODE((tree / "etc/file").stat().st_mode) == 0o600
    for name in ("etc/pipe", "etc/folder"):
        with pytest.raises(OSError):
            found.chmod(name, 0o777)


def test_walking_follows_no_link(tree: Path) -> None:
    assert sorted(name for name, _ in Tree(tree).files()) == ["etc/file", "usr/lib/inner"]
    assert [name for name, _ in Tree(tree, links=False).files("lib")] == []


def test_a_folder_is_copied_out_with_its_links_and_without_special_files(tree: Path, tmp_path: Path) -> None:
    (tree / "etc/sub").mkdir()
    (tree / "etc/sub/file").write_text("sub", encoding="utf-8")
    (tree / "etc/sub/file").chmod(0o750)
    os.utime(tree / "etc/sub/file", (5, 5))
    left = {"pipe", "loop", "process"}
    Tree(tree).copy_tree_out("etc", tmp_path / "copy", lambda path: path in left, 100)
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {"absolute", "up", "folder", "root", "file", "sub"}
    assert os.readlink(tmp_path / "copy/up") == "../../host/secret", "links are copied as links"
    info = (tmp_path / "copy/sub/file").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_mtime) == (0o750, 5)
    with pytest.raises(OSError) as caught:
        Tree(tree).copy_tree_out("etc", tmp_path / "again", lambda path: False, 100)
    assert caught.value.filename == "etc/pipe"
    with pytest.raises(OSError):
        Tree(tree).copy_out("etc/file", tmp_path / "small", 3)


def test_an_entry_is_moved_out_by_its_name_alone(tree: Path, tmp_path: Path) -> None:
    Tree(tree, links=False).move_out("usr/lib", tmp_path / "moved")
    assert (tmp_path / "moved/inner").exists()
    with pytest.raises(OSError):
        Tree(tree, links=False).move_out("etc/folder/x", tmp_path / "other")
