"""Device nodes: records of an archive's nodes, and how tarballs, squashfs and ext4 get them back."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from roots import as_root

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.contents import Contents
from stagewright.media.disk.ext4 import make_ext4
from stagewright.root.devices import DeviceNode, missing_devices
from stagewright.seeds.tarscan import Bounds, TarScan

EPOCH = 1_700_000_000
CONSOLE = DeviceNode(path="/dev/console", type="c", mode=0o600, uid=5, gid=7, major=5, minor=1)
LOOP = DeviceNode(path="/loop 0", type="b", mode=0o640, uid=0, gid=6, major=7, minor=300)


def archive(*nodes: DeviceNode) -> bytes:
    return b"".join(node.tar_header(EPOCH) for node in nodes)


def test_an_archive_gives_back_what_was_recorded() -> None:
    scan = TarScan("it", Bounds.of(1 << 20))
    scan.feed(archive(CONSOLE, LOOP) + bytes(1024))
    assert scan.devices == [CONSOLE, LOOP]
    with tarfile.open(fileobj=io.BytesIO(archive(CONSOLE, LOOP) + bytes(1024))) as found:
        first, second = found
    assert (first.name, first.ischr(), first.devmajor, first.mtime) == ("./dev/console", True, 5, EPOCH)
    assert (second.name, second.isblk(), second.devminor, second.mode) == ("./loop 0", True, 300, 0o640)


def test_the_later_one_of_two_nodes_counts() -> None:
    scan = TarScan("it", Bounds.of(1 << 20))
    scan.feed(archive(CONSOLE, CONSOLE.model_copy(update={"minor": 2})))
    assert [node.minor for node in scan.devices] == [2]


def test_an_archive_with_too_many_nodes_is_refused() -> None:
    scan = TarScan("it", Bounds.of(1 << 20))
    with pytest.raises(StagewrightError) as caught:
        for number in range(1001):
            scan.feed(archive(CONSOLE.model_copy(update={"path": f"/dev/tty{number}"})))
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE


@pytest.mark.parametrize("name", ["/a\nrm /etc", '/a"', "/a\\b", "/\ufffd"])
def test_a_node_whose_name_could_be_a_command_is_refused(name: str) -> None:
    scan = TarScan("it", Bounds.of(1 << 20))
    with pytest.raises(StagewrightError) as caught:
        scan.feed(archive(CONSOLE.model_copy(update={"path": name})))
    assert caught.value.reason is Reason.UNSAFE_ARCHIVE


def test_the_listing_is_that_of_tar(tmp_path: Path) -> None:
    (tmp_path / "it.tar").write_bytes(archive(CONSOLE, LOOP) + bytes(1024))
    words = ["tar", "-tvvf", tmp_path / "it.tar", "--numeric-owner", "--quoting-style=escape"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"})
    ours = (CONSOLE.listing(EPOCH) + LOOP.listing(EPOCH)).decode()
    assert [line.split() for line in ours.splitlines()] == [line.split() for line in said.stdout.splitlines()]


@as_root
def test_a_node_whose_place_is_taken_or_gone_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    below, above = [CONSOLE, LOOP], [CONSOLE.model_copy(update={"minor": 9})]
    assert missing_devices(tmp_path, [above, below]) == [*above, LOOP]
    (tmp_path / "loop 0").touch()
    (tmp_path / "dev").rmdir()
    (tmp_path / "dev").symlink_to("/tmp")
    assert missing_devices(tmp_path, [above, below]) == []


def test_ext4_has_the_nodes(tmp_path: Path) -> None:
    (tmp_path / "root/dev").mkdir(parents=True)
    image = tmp_path / "image"
    make_ext4(Contents("x", "root", tmp_path / "root", [CONSOLE, LOOP], [], EPOCH, 1, io.StringIO()), image, 48 << 20)
    said = subprocess.run(["debugfs", "-R", "stat /dev/console", image], check=True, capture_output=True, text=True)
    assert "character special" in said.stdout and "Mode:  0600" in said.stdout and "User:     5" in said.stdout
    subprocess.run(["e2fsck", "-fn", image], check=True, capture_output=True)


@pytest.mark.parametrize(("name", "word"), [("/dev/null", "/dev/null"), ("/a b", "/a\\ b")])
def test_the_pseudo_file_of_mksquashfs(name: str, word: str) -> None:
    assert CONSOLE.model_copy(update={"path": name}).pseudo() == f"{word} c 600 5 7 5 1"
