"""Copies of folders as roots: what they get, what they leave out, and what is refused."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.seeds import copied as module
from stagewright.seeds.copied import FolderCopy
from stagewright.store.content import KnownDigest
from stagewright.trees import remove_tree

EPOCH = 1_795_132_800


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/program").write_text("program\n", encoding="utf-8")
    (root / "etc").mkdir()
    return root


def copied(source: Path) -> FolderCopy:
    target = source.with_name("target")
    target.mkdir()
    user = os.getuid(), os.getgid()
    copy = FolderCopy(source, target, EPOCH, owner=lambda _: user)
    copy.make()
    return copy


def test_a_copy_has_modes_and_links_and_the_time_of_the_build(source: Path) -> None:
    (source / "usr/bin/program").chmod(0o4711)
    (source / "usr").chmod(0o1755)
    (source / "usr/bin").chmod(0o555)
    (source / "etc/link").symlink_to("../nowhere")
    target = copied(source).target
    for name, mode in (("usr", 0o1755), ("usr/bin", 0o555), ("usr/bin/program", 0o4711), (".", 0o755)):
        assert stat.S_IMODE((target / name).stat().st_mode) == mode
    assert (target / "etc/link").readlink() == Path("../nowhere")
    assert {path.lstat().st_mtime_ns for path in (target, *target.rglob("*"))} == {EPOCH * 10**9}


def test_the_digests_are_those_of_the_copies(source: Path) -> None:
    (source / "etc/large").write_bytes(os.urandom((2 << 20) + 5))
    (source / "etc/empty").touch()
    copy = copied(source)
    files = [path for path in copy.target.rglob("*") if path.is_file()]
    expected = [KnownDigest.of(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    assert len(files) == 3
    assert set(copy.digested) == set(expected)
    assert all(path.read_bytes() == (source / path.relative_to(copy.target)).read_bytes() for path in files)


def test_the_digest_of_a_file_that_changes_meanwhile_is_that_of_its_copy(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "image").write_bytes(b"before")
    os.truncate(source / "image", 1 << 20)
    copy_data = module._copy_data

    def changing(*arguments: int) -> None:
        copy_data(*arguments)
        (source / "image").write_bytes(b"after")

    monkeypatch.setattr(module, "_copy_data", changing)
    made = copied(source)
    content = (made.target / "image").read_bytes()
    assert content.startswith(b"before")
    assert hashlib.sha256(content).hexdigest() in {known.sha256 for known in made.digested}


def test_names_of_a_file_become_files(source: Path) -> None:
    os.link(source / "usr/bin/program", source / "usr/bin/other")
    target = copied(source).target
    assert (target / "usr/bin/program").stat().st_nlink == 1
    assert (target / "usr/bin/other").read_text(encoding="utf-8") == "program\n"


def test_holes_stay_holes(source: Path) -> None:
    with (source / "etc/sparse").open("wb") as stream:
        stream.seek(5_000_000)
        stream.write(b"middle")
        stream.truncate(10_000_000)
    copy = copied(source)
    made = copy.target / "etc/sparse"
    assert made.read_bytes() == (source / "etc/sparse").read_bytes()
    assert made.stat().st_blocks * 512 < 1_000_000
    assert hashlib.sha256(made.read_bytes()).hexdigest() in {file.sha256 for file in copy.digested}


def test_the_history_of_a_repository_is_left_out(source: Path) -> None:
    (source / "etc/.git").mkdir()
    (source / "usr/.git").write_text("gitdir: elsewhere\n", encoding="utf-8")
    target = copied(source).target
    assert not (target / "etc/.git").exists()
    assert not (target / "usr/.git").exists()


def test_a_deep_folder_is_copied(source: Path) -> None:
    deep = os.open(source / "etc", os.O_RDONLY)
    name = "folder" * 40
    for _ in range(20):  # together longer than a path may be
        os.mkdir(name, dir_fd=deep)
        inner = os.open(name, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    copy = copied(source)
    assert len(copy.digested) == 2
    for tree in (source, copy.target):
        remove_tree(tree)


def test_a_socket_is_refused(source: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "etc/socket"))
        with pytest.raises(StagewrightError) as caught:
            copied(source)
    assert caught.value.reason is Reason.INVALID_VALUE
    assert "etc/socket" in str(caught.value)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("program")


def file(path: Path) -> None:
    path.unlink()
    path.touch()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "swap", "said"),
    [
        ("program", link, "program: replaced by another program"),
        ("link", file, "link: replaced by another program"),
        ("program", folder, "program: replaced by another program"),
        ("program", pipe, "program: not a file, folder or link"),
        ("link", pipe, "link: replaced by another program"),
    ],
)
def test_what_is_replaced_after_it_was_listed_is_an_error(
    source: Path, monkeypatch: pytest.MonkeyPatch, name: str, swap: Callable[[Path], None], said: str
) -> None:
    (source / "usr/bin/link").symlink_to("program")
    walk = module.walk

    def swapping(*arguments: Any, **named: Any) -> Iterator[Any]:
        for step in walk(*arguments, **named):
            if step.name == "bin" and not step.left:
                swap(source / "usr/bin" / name)
            yield step

    monkeypatch.setattr(module, "walk", swapping)
    with pytest.raises(StagewrightError) as caught:
        copied(source)
    assert said in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_files_of_all_sizes_are_whole(source: Path, size: int) -> None:
    content = os.urandom(size)
    (source / "etc/file").write_bytes(content)
    copy = copied(source)
    assert (copy.target / "etc/file").read_bytes() == content
    assert hashlib.sha256(content).hexdigest() in {known.sha256 for known in copy.digested}


@pytest.mark.parametrize("listed", [0, 10, 5000])
def test_a_file_that_has_grown_is_read_in_large_pieces(
    source: Path, monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    log, content = source / "etc/log", os.urandom(300_000)
    log.write_bytes(content[:listed])
    reads = list[int]()
    copy_of, read = module._copied, os.read

    def growing(descriptor: int, copy: int, info: os.stat_result) -> str:
        if info.st_size == listed:
            log.write_bytes(content)
        return copy_of(descriptor, copy, info)

    def counting(descriptor: int, count: int) -> bytes:
        reads.append(count)
        return read(descriptor, count)

    monkeypatch.setattr(module, "_copied", growing)
    monkeypatch.setattr(module.os, "read", counting)
    made = copied(source)
    monkeypatch.undo()
    assert (made.target / "etc/log").read_bytes() == content
    assert hashlib.sha256(content).hexdigest() in {known.sha256 for known in made.digested}
    assert len(reads) < 8


def test_a_folder_above_its_limit_is_refused(source: Path) -> None:
    source.with_name("target").mkdir()
    with pytest.raises(StagewrightError) as caught:
        FolderCopy(source, source.with_name("target"), EPOCH, most=7).make()
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
