"""Digests of folders: the content counts; times and owners do not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import REPOSITORY_BITS, file_digest, tree_digest, walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a bit of everything."""
    root = tmp_path / "tree"
    (root / "etc" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "etc" / "motd").write_text("hello\n", encoding="utf-8")
    (root / "etc" / "deep" / ".hidden").write_bytes(b"\x00\xff")
    (root / "bin").symlink_to("usr/bin")
    return root


def swap(root: Path) -> None:
    (root / "etc" / "x").write_text("hello\n", encoding="utf-8")
    (root / "etc" / "motd").unlink()
    (root / "etc" / "x").rename(root / "etc" / "motd2")


def relink(root: Path, target: str) -> None:
    (root / "bin").unlink()
    (root / "bin").symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "etc/motd").write_text("hullo\n", encoding="utf-8"),
    "hidden content": lambda root: (root / "etc/deep/.hidden").write_bytes(b""),
    "a name": swap,
    "a new file": lambda root: (root / "etc/new").touch(),
    "a new folder": lambda root: (root / "etc/new").mkdir(),
    "a folder less": lambda root: (root / "empty").rmdir(),
    "mode of a file": lambda root: (root / "etc/motd").chmod(0o600),
    "set-user-id": lambda root: (root / "etc/motd").chmod(0o4644),
    "mode of a folder": lambda root: (root / "empty").chmod(0o700),
    "a link": lambda root: relink(root, "usr/sbin"),
    "how a link is written": lambda root: relink(root, "./usr//bin"),
    "a file for a link": lambda root: ((root / "bin").unlink(), (root / "bin").write_text("usr/bin", encoding="utf-8")),
    "a file elsewhere": lambda root: (root / "etc/motd").rename(root / "empty/motd"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_counts(tree: Path, change: Callable[[Path], object]) -> None:
    before = tree_digest(tree)
    change(tree)
    assert tree_digest(tree) != before


def rewrite(root: Path) -> None:
    for path in [*root.rglob("*")]:
        os.utime(path, (1, 1), follow_symlinks=False)


def own(root: Path) -> None:
    if os.geteuid() == 0:
        os.chown(root / "etc" / "motd", 12, 34)


def add_history(root: Path) -> None:
    (root / ".git" / "objects").mkdir(parents=True)
    (root / "etc" / ".git").write_text("gitdir: elsewhere", encoding="utf-8")


NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "times": rewrite,
    "owners": own,
    "a repository's history": add_history,
    "its own name": lambda root: (root.rename(root.with_name("other")), root.with_name("other").rename(root)),
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_does_not_count(tree: Path, change: Callable[[Path], object]) -> None:
    before = tree_digest(tree)
    change(tree)
    assert tree_digest(tree) == before


def test_a_copy_has_the_same_digest(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    for path in [tree, *sorted(tree.rglob("*"), reverse=True)]:  # in another order, so folders list otherwise
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(path.read_bytes())
    assert tree_digest(copy) == tree_digest(tree)


def test_one_file(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("x", encoding="utf-8")
    link.symlink_to("file")
    before = tree_digest(file)
    assert tree_digest(link) == before
    assert before != tree_digest(tmp_path)
    file.chmod(0o700)
    assert tree_digest(file) != before
    assert file_digest(file) == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_names_that_are_not_text_have_a_digest(tmp_path: Path) -> None:
    first = tree_digest(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    assert tree_digest(tmp_path) != first


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # names of sockets are short
        listener.bind(path.name)


@pytest.mark.parametrize("make", [os.mkfifo, make_socket])
def test_pipes_and_sockets_are_rejected(
    tree: Path, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    make(tree / "etc" / "strange")
    with pytest.raises(StagewrightError) as caught:
        tree_digest(tree)
    assert caught.value.reason is Reason.INVALID_VALUE
    assert "strange" in caught.value.message
    assert caught.value.hint


def test_a_pipe_named_directly_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def digest(path: Path, info: os.stat_result) -> str:
        raise AssertionError("opened")

    with pytest.raises(StagewrightError):
        tree_digest(tmp_path / "pipe", digest)


def test_walk_gives_parents_before_children_by_name(tree: Path) -> None:
    names = [relative for _, relative in walk(tree)]
    assert names == ["bin", "empty", "etc", "etc/deep", "etc/motd", "etc/deep/.hidden"]


def test_the_umask_does_not_change_the_digest_of_a_repository(tree: Path) -> None:
    before = tree_digest(tree, bits=REPOSITORY_BITS), tree_digest(tree)
    for path in [tree / "etc/motd", *tree.rglob("*/")]:
        path.chmod(path.stat().st_mode & 0o7700)
    assert tree_digest(tree, bits=REPOSITORY_BITS) == before[0]
    assert tree_digest(tree) != before[1]
    (tree / "etc/motd").chmod(0o700)  # a program now
    assert tree_digest(tree, bits=REPOSITORY_BITS) != before[0]
