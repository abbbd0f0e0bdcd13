"""The feed of updates that is taken out of a disk image, and the files that a system gets to read it."""

from __future__ import annotations

import base64
import hashlib
import io
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.media.updates.feed import (
    FeedCompression,
    read_slot,
    write_feed,
    write_sums,
)
from stagewright.media.updates.keyring import binary_keyring
from stagewright.media.updates.transfers import COUNTER, Feed, deadline_units, definitions

ROOT, VERITY = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
UUIDS = ("7b2afd4a-5709-4c04-8ea4-88f2c26f0c2b", "8777756a-6783-4ddb-8a6b-3aaf46d2a2fd")
MIB = 1 << 20


@dataclass
class Disk:
    """A disk image with one filled slot and one empty slot."""

    path: Path
    data: bytes

    def part(self, number: int, setting: str, value: str) -> None:
        """Change a partition in the table."""
        subprocess.run(["sfdisk", "-q", "--no-reread", setting, self.path, str(number), value], check=True)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the disk."""
        with self.path.open("r+b") as stream:
            stream.seek(offset)
            stream.write(data)


@pytest.fixture(scope="module")
def whole_disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """Return a disk image with the version 1.2 of the system fleet."""
    folder = tmp_path_factory.mktemp("disk")
    path = folder / "disk.img"
    table = [
        f"start=2048, size=4096, type={ESP}, name=esp",
        f"start=6144, size=2048, type={ROOT}, uuid={UUIDS[0]}, name=fleet_1.2",
        f"start=8192, size=2048, type={VERITY}, uuid={UUIDS[1]}, name=fleet_1.2",
        f"start=10240, size=2048, type={ROOT}, name=_empty",
        f"start=12288, size=2048, type={VERITY}, name=_empty",
    ]
    path.write_bytes(bytes(8 * MIB))
    text = "\n".join(["label: gpt", "unit: sectors", "", *table, ""])
    subprocess.run(["sfdisk", "-q", path], input=text.encode(), check=True)
    data = bytes(range(256)) * 16 * 129  # 129 blocks: a hash tree of two levels
    tree = folder / "tree"
    (folder / "data").write_bytes(data)
    subprocess.run(["veritysetup", "format", folder / "data", tree], check=True, stdout=subprocess.DEVNULL)
    esp, kernel = folder / "esp.img", folder / "kernel.efi"
    kernel.write_bytes(b"a kernel")
    esp.write_bytes(bytes(2 * MIB))
    subprocess.run(["mkfs.vfat", esp], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mmd", "-i", esp, "::EFI", "::EFI/Linux"], check=True)
    subprocess.run(["mcopy", "-i", esp, kernel, "::EFI/Linux/fleet_1.2+3.efi"], check=True)
    disk = Disk(path, data)
    for offset, content in ((1, esp.read_bytes()), (3, data), (4, tree.read_bytes())):
        disk.write(offset * MIB, content)
    return disk


@pytest.fixture
def disk(whole_disk: Disk, tmp_path: Path) -> Disk:
    """Return a copy of the disk image."""
    copy = tmp_path / "disk.img"
    shutil.copyfile(whole_disk.path, copy)
    return Disk(copy, whole_disk.data)


def test_a_feed_has_what_dm_verity_protects_and_the_kernel_image(disk: Disk, tmp_path: Path) -> None:
    slot = read_slot(disk.path, tmp_path)
    assert (slot.name, slot.version, slot.kernel.read_bytes()) == ("fleet", "1.2", b"a kernel")
    folder = tmp_path / "feed"
    folder.mkdir()
    write_feed(slot, disk.path, folder, FeedCompression.XZ, epoch=1000, log=io.StringIO())
    base = "fleet_1.2"
    names = [f"{base}_{UUIDS[0]}.root.xz", f"{base}_{UUIDS[1]}.root-verity.xz", f"{base}.efi"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "SHA256SUMS"])
    assert lzma.decompress((folder / names[0]).read_bytes()) == disk.data
    tree = lzma.decompress((folder / names[1]).read_bytes())
    assert len(tree) == 4096 * (1 + 2 + 1) and tree.startswith(b"verity\0\0")
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    assert sums == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    assert {path.stat().st_mtime for path in folder.iterdir()} == {1000}


def test_the_tree_of_a_feed_is_that_of_veritysetup(disk: Disk, tmp_path: Path) -> None:
    slot = read_slot(disk.path, tmp_path)
    folder = tmp_path / "feed"
    folder.mkdir()
    write_feed(slot, disk.path, folder, FeedCompression.NONE, epoch=0, log=io.StringIO())
    data, tree = (
        folder / f"fleet_1.2_{uuid}.{role}" for uuid, role in zip(UUIDS, ("root", "root-verity"), strict=True)
    )
    dumped = subprocess.run(["veritysetup", "dump", tree], check=True, capture_output=True, text=True).stdout
    assert "Data blocks:     \t129" in dumped
    with_tree = tmp_path / "again"
    salt = next(line.split()[-1] for line in dumped.splitlines() if line.startswith("Salt"))
    uuid = next(line.split()[-1] for line in dumped.splitlines() if line.startswith("UUID"))
    words = ["veritysetup", "format", "--salt", salt, "--uuid", uuid, data, with_tree]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert with_tree.read_bytes() == tree.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda disk: disk.part(4, "--part-label", "fleet_1.1"), "not one slot"),
        (lambda disk: disk.part(2, "--part-label", "root"), "not one slot"),
        (lambda disk: disk.part(3, "--part-type", ROOT), "not one slot"),
        (lambda disk: disk.part(3, "--part-label", "_empty"), "one partition with data"),
        (lambda disk: disk.part(1, "--part-type", ROOT), "not one slot"),
        (lambda disk: disk.write(4 * MIB, b"other"), "no superblock"),
        (lambda disk: disk.write(4 * MIB + 72, struct.pack("<Q", 1 << 40)), "smaller than"),
        (lambda disk: disk.write(0, bytes(8 * MIB)), "partition table"),
    ],
    ids=["two-filled", "other-label", "two-roots", "no-tree", "no-esp", "no-superblock", "too-large", "no-table"],
)
def test_an_image_without_one_filled_slot_is_an_error(
    disk: Disk, tmp_path: Path, change: Callable[[Disk], None], message: str
) -> None:
    change(disk)
    with pytest.raises(StagewrightError, match=message) as error:
        read_slot(disk.path, tmp_path)
    assert error.value.reason is Reason.BAD_ARCHIVE


def test_a_kernel_image_of_another_version_is_an_error(disk: Disk, tmp_path: Path) -> None:
    for number in (2, 3):
        disk.part(number, "--part-label", "fleet_1.3")
    with pytest.raises(StagewrightError, match=r"does not have one kernel image fleet_1.3.efi \(fleet_1.2\+3.efi\)"):
        read_slot(disk.path, tmp_path)


def test_sums_leave_out_the_list_and_its_signature(tmp_path: Path) -> None:
    for name in ("b", "a", "SHA256SUMS", "SHA256SUMS.gpg"):
        (tmp_path / name).write_bytes(name.encode())
    write_sums(tmp_path, 5)
    lines = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a", "b"]


def test_transfer_definitions_protect_the_running_version_and_install_the_kernel_last() -> None:
    texts = definitions(Feed("fleet", "https://example.org/a%20b/", "usr", FeedCompression.GZIP))
    assert list(texts) == ["10-usr.transfer", "20-usr-verity.transfer", "30-kernel.transfer"]
    for text in texts.values():
        assert "ProtectVersion=%A\nVerify=yes\n" in text
        assert "Path=https://example.org/a%%20b/\n" in text
    assert "MatchPattern=fleet_@v_@u.usr-verity.gz\n" in texts["20-usr-verity.transfer"]
    assert "MatchPartitionType=usr\n" in texts["10-usr.transfer"]
    kernel = texts["30-kernel.transfer"]
    assert "MatchPattern=fleet_@v+@l-@d.efi fleet_@v+@l.efi fleet_@v.efi\n" in kernel
    assert "TriesLeft=3\nTriesDone=0\n" in kernel


def test_the_deadline_counts_only_for_boots_that_are_counted() -> None:
    units = deadline_units(300)
    timer = units["/usr/lib/systemd/system/boot-deadline.timer"]
    assert f"ConditionPathExists={COUNTER}\n" in timer and "OnBootSec=300\n" in timer
    assert "SuccessAction=reboot-force\n" in units["/usr/lib/systemd/system/boot-deadline.service"]


def test_a_boot_without_a_login_is_not_a_good_one() -> None:
    """boot-complete.target of systemd needs sysinit.target only."""
    text = deadline_units(300)["/usr/lib/systemd/system/boot-complete.target.d/boot-deadline.conf"]
    assert text == "[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\n"


KEY = b"\x98\x33\x04" + bytes(40)


def test_an_armored_key_becomes_a_keyring() -> None:
    body = base64.b64encode(KEY)
    plain = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + body + b"\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    commented = plain.replace(b"-----\n\n", b"-----\nComment: ours\n\n", 1)
    assert binary_keyring(KEY, "key") == KEY
    assert binary_keyring(plain, "key") == KEY
    assert binary_keyring(commented + plain, "key") == KEY + KEY


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an OpenPGP public key"),
        (b"ssh-ed25519 AAAA", "not an OpenPGP public key"),
        (b"\x94\x33\x04" + bytes(40), "a secret key"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n", "a secret key"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!!\n-----END PGP PUBLIC KEY BLOCK-----\n", "not an OpenPGP"),
    ],
)
def test_other_files_do_not_become_keyrings(data: bytes, message: str) -> None:
    with pytest.raises(StagewrightError, match=message):
        binary_keyring(data, "key")
