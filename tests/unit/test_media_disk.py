"""Disk images: partitions, contents, and equal bytes for equal roots."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.contents import Contents, identifier
from stagewright.media.disk.definitions import read_definitions, texts_of
from stagewright.media.disk.ext4 import make_ext4
from stagewright.media.disk.file_systems import make_file_system
from stagewright.media.disk.filesystem_types import MIB, FileSystem
from stagewright.media.disk.image import DiskSource, DiskWriter
from stagewright.media.disk.partition_table import Partition
from stagewright.media.disk.xfs import crc32c
from stagewright.root.devices import DeviceNode

TOOLS = ("sfdisk", "mkfs.ext4", "debugfs", "mkfs.vfat", "mcopy")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for tool in TOOLS),
    reason=f"NOT TESTED: needs {', '.join(TOOLS)}",
)

EPOCH = 1795132800
NAME = "demo.qcow2"


def tree(folder: Path) -> Path:
    """A root with times, links, names with spaces, and permissions."""
    (folder / "etc").mkdir(parents=True)
    for number in range(40):
        (folder / "etc" / f"file {number}").write_text("x" * number * 100, encoding="utf-8")
    (folder / "etc/link").symlink_to("file 1")
    os.link(folder / "etc/file 2", folder / "etc/hard")
    (folder / "etc/file 3").chmod(0o4750)
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return folder


def image(folder: Path, root: Path, name: str, layout: str = "ext4") -> tuple[Path, list[Partition]]:
    """A disk of 96 MiB with a root and one file in an EFI system partition of 16 MiB."""
    (folder / name).mkdir()
    loader = folder / f"{name}.efi"
    loader.write_bytes(b"loader")
    os.utime(loader, (EPOCH, EPOCH))
    small = {"size_min": 16 * MIB, "size_max": 16 * MIB}
    definitions = [
        one.model_copy(update=small) if one.is_esp or one.name == "var" else one
        for one in read_definitions(texts_of(layout, None), folder)
    ]
    source = DiskSource(
        NAME, host_machine(), definitions, root, (), "demo", "1.0", folder / name, EPOCH, 1, io.StringIO()
    )
    target = folder / f"{name}.img"
    found = DiskWriter(source).write(lambda _: {"EFI/BOOT/BOOTX64.EFI": loader}, 96 * MIB, target)
    return target, found


def contents(root: Path) -> Contents:
    return Contents(NAME, "root", root, (), (), EPOCH, 1, io.StringIO())


@pytest.mark.slow
def test_equal_roots_make_equal_disks(tmp_path: Path) -> None:
    first, _ = image(tmp_path, tree(tmp_path / "one"), "a")
    second, _ = image(tmp_path, tree(tmp_path / "two"), "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size == 96 * MIB
    assert first.stat().st_blocks * 512 < 16 * MIB, "what is not used takes no room"


def test_partitions_have_the_places_and_identifiers_of_the_layout(tmp_path: Path) -> None:
    disk, made = image(tmp_path, tree(tmp_path / "root"), "a")
    table = json.loads(subprocess.check_output(["/sbin/sfdisk", "--json", disk]))["partitiontable"]
    assert table["id"].lower() == identifier(NAME, "disk")
    assert [one["uuid"].lower() for one in table["partitions"]] == [identifier(NAME, "esp"), identifier(NAME, "root")]
    assert [(one["start"] * 512, one["size"] * 512) for one in table["partitions"]] == [
        (MIB, 16 * MIB),
        (17 * MIB, 78 * MIB),
    ]
    assert [(one.start, one.size) for one in made] == [(MIB, 16 * MIB), (17 * MIB, 78 * MIB)]
    assert table["partitions"][1]["attrs"] == "GUID:59", "the file system of the root grows with its partition"
    listed = subprocess.check_output(["mdir", "-b", "-/", "-i", f"{disk}@@{MIB}"], text=True)
    assert "BOOTX64.EFI" in listed


def test_the_file_system_is_valid_and_complete(tmp_path: Path) -> None:
    target = tmp_path / "root.img"
    make_ext4(contents(tree(tmp_path / "root")), target, 46 * MIB)
    subprocess.run(["/sbin/e2fsck", "-fn", target], check=True, capture_output=True)
    look = ["/sbin/debugfs", "-R", "stat <2>", target]
    assert f"ctime: 0x{EPOCH:08x}" in subprocess.run(look, capture_output=True, text=True, check=True).stdout
    dump = ["/sbin/debugfs", "-R", 'cat "/etc/file 7"', target]
    assert subprocess.run(dump, capture_output=True, check=True).stdout == b"x" * 700
    mode = subprocess.run([*look[:2], 'stat "/etc/file 3"', target], capture_output=True, text=True, check=True).stdout
    assert "Mode:  04750" in mode


def test_a_root_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    (root / "large").write_bytes(os.urandom(50 * MIB))
    with pytest.raises(StagewrightError) as caught:
        make_ext4(contents(root), tmp_path / "root.img", 46 * MIB)
    assert caught.value.reason is Reason.COMMAND_FAILED


def test_identifiers_differ_by_name() -> None:
    assert len({identifier(disk, what) for disk in (NAME, "other") for what in ("disk", "esp", "root")}) == 6


@pytest.mark.parametrize(("layout", "same"), [("ab", True), ("verity", False), ("ext4", False)])
def test_a_next_version_finds_the_partitions_of_the_version_before(layout: str, same: bool) -> None:
    """Only in a layout with slots: there, a machine keeps its other partitions."""
    definitions = read_definitions(texts_of(layout, None), Path())
    found = [
        DiskSource(f"a-{version}", host_machine(), definitions, Path(), (), "a", version, Path(), 0, 1, io.StringIO())
        for version in ("1", "2")
    ]
    first, second = (one.fstab() for one in found)
    assert re.search(r"^PARTUUID=\S+\t/efi\t", first, re.MULTILINE)
    assert (first == second) is same
    other = DiskSource("b-1", host_machine(), definitions, Path(), (), "b", "1", Path(), 0, 1, io.StringIO())
    assert other.fstab() != first


def has(*programs: str) -> bool:
    return all(shutil.which(program, path="/usr/bin:/usr/sbin:/sbin:/bin") for program in programs)


def packed(folder: Path, kind: FileSystem, name: str) -> Path:
    target = folder / f"{name}.{kind}"
    make_file_system(kind, contents(folder / name), target, kind.least)
    return target


def sound(root: Path) -> Path:
    """A root that every file system can keep."""
    for path in [*(root / "etc").glob("* *")]:
        path.rename(path.with_name(path.name.replace(" ", "-")))
    (root / "etc/link").unlink()
    (root / "etc/link").symlink_to("file-1")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    for path in [*root.rglob("*"), root]:
        os.utime(path, (EPOCH - 5, EPOCH - 5), follow_symlinks=False)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FileSystem.EROFS, FileSystem.SQUASHFS, FileSystem.XFS, FileSystem.SWAP])
def test_equal_folders_make_equal_file_systems(tmp_path: Path, kind: FileSystem) -> None:
    if not has(*kind.programs):
        pytest.skip(f"NOT TESTED: needs {', '.join(kind.programs)}")
    for name in ("a", "b"):
        sound(tree(tmp_path / name))
    first, second = packed(tmp_path, kind, "a"), packed(tmp_path, kind, "b")
    assert subprocess.run(["cmp", first, second], check=False).returncode == 0


@pytest.mark.skipif(not has("mkfs.xfs", "xfs_repair"), reason="NOT TESTED: needs mkfs.xfs, xfs_repair")
def test_xfs_has_owners_modes_and_times(tmp_path: Path) -> None:
    sound(tree(tmp_path / "a"))
    image = packed(tmp_path, FileSystem.XFS, "a")
    subprocess.run(["/usr/sbin/xfs_repair", "-n", "-f", image], check=True, capture_output=True)
    words = ["/usr/sbin/xfs_db", "-r", "-c", "blockget -n", "-c", "ncheck", image]
    listed = dict(reversed(line.split()) for line in subprocess.check_output(words, text=True).splitlines())

    def field(path: str, name: str) -> str:
        words = ["/usr/sbin/xfs_db", "-r", "-c", f"inode {listed[path]}", "-c", f"p {name}", image]
        return subprocess.check_output(words, text=True, env={"TZ": "UTC"}).split(" = ")[1].strip()

    assert field("etc/file-3", "core.mode") == "0104750"
    assert field("tmp/.", "core.mode") == "041777"
    assert field("etc/file-7", "core.size") == "700"
    assert field("etc/file-7", "core.mtime.sec") == "Thu Nov 19 23:59:55 2026"
    assert field("etc/file-7", "core.ctime.sec") == "Fri Nov 20 00:00:00 2026"


@pytest.mark.skipif(not has("mkfs.xfs"), reason="NOT TESTED: needs mkfs.xfs")
def test_xfs_refuses_what_would_be_lost(tmp_path: Path) -> None:
    root = sound(tree(tmp_path / "a"))
    (root / "etc/with space").touch()
    os.setxattr(root / "etc/file-1", "user.note", b"x")
    with pytest.raises(StagewrightError) as caught:
        packed(tmp_path, FileSystem.XFS, "a")
    assert caught.value.reason is Reason.BUILD_FAILED
    assert "with space" in caught.value.detail
    assert "user.note" in caught.value.detail


def test_the_checksum_of_inodes() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of this polynomial


@pytest.mark.skipif(not has("mkfs.erofs"), reason="NOT TESTED: needs mkfs.erofs")
def test_a_device_node_outside_of_dev_is_not_lost_silently(tmp_path: Path) -> None:
    root = tree(tmp_path / "a")
    node = DeviceNode(path="/srv/null", type="c", mode=0o666, uid=0, gid=0, major=1, minor=3)
    given = Contents(NAME, "root", root, (node,), (), EPOCH, 1, io.StringIO())
    with pytest.raises(StagewrightError, match="device nodes"):
        make_file_system(FileSystem.EROFS, given, tmp_path / "image", 0)
