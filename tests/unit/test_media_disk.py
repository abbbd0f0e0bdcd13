"""Disk images: partitions, contents, and equal bytes for equal roots."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk import MIB, DiskLayout, make_disk, make_ext4

TOOLS = ("sfdisk", "mkfs.ext4", "debugfs", "mkfs.vfat", "mcopy")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for tool in TOOLS),
    reason=f"NOT TESTED: needs {', '.join(TOOLS)}",
)

EPOCH = 1795132800
LAYOUT = DiskLayout("demo.qcow2", Arch.AMD64, 64 * MIB, 16 * MIB)


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


def image(folder: Path, root: Path, name: str) -> Path:
    """A disk with a root and one file in the EFI system partition."""
    (folder / name).mkdir()
    loader = folder / f"{name}.efi"
    loader.write_bytes(b"loader")
    os.utime(loader, (EPOCH, EPOCH))
    target = folder / f"{name}.img"
    make_disk(LAYOUT, root, {"EFI/BOOT/BOOTX64.EFI": loader}, target, folder / name, EPOCH, io.StringIO())
    return target


@pytest.mark.slow
def test_equal_roots_make_equal_disks(tmp_path: Path) -> None:
    first = image(tmp_path, tree(tmp_path / "one"), "a")
    second = image(tmp_path, tree(tmp_path / "two"), "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size == 64 * MIB
    assert first.stat().st_blocks * 512 < 16 * MIB, "what is not used takes no room"


def test_partitions_have_the_offsets_of_the_layout(tmp_path: Path) -> None:
    disk = image(tmp_path, tree(tmp_path / "root"), "a")
    table = json.loads(subprocess.check_output(["/sbin/sfdisk", "--json", disk]))["partitiontable"]
    esp, root = table["partitions"]
    assert (table["id"].lower(), root["uuid"].lower()) == (LAYOUT.identifier("disk"), LAYOUT.identifier("root"))
    assert (esp["start"] * 512, esp["size"] * 512) == (MIB, LAYOUT.esp)
    assert (root["start"] * 512, root["size"] * 512) == (LAYOUT.root_start, LAYOUT.root)
    listed = subprocess.check_output(["mdir", "-b", "-/", "-i", f"{disk}@@{MIB}"], text=True)
    assert "BOOTX64.EFI" in listed


def test_the_file_system_is_valid_and_complete(tmp_path: Path) -> None:
    target = tmp_path / "root.img"
    make_ext4(LAYOUT, tree(tmp_path / "root"), target, EPOCH, io.StringIO())
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
        make_ext4(LAYOUT, root, tmp_path / "root.img", EPOCH, io.StringIO())
    assert caught.value.reason is Reason.COMMAND_FAILED


def test_identifiers_differ_by_name() -> None:
    other = DiskLayout("other.qcow2", Arch.AMD64, 64 * MIB, 16 * MIB)
    names = ("disk", "esp", "root")
    assert len({layout.identifier(name) for layout in (LAYOUT, other) for name in names}) == 6
