"""Formats of disk images: the same bytes twice, the content of the raw image, and an OVA as its specification says."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.bios import BiosCode
from stagewright.media.disk.formats import Format, _vmdk, convert
from stagewright.media.disk.ova import Appliance
from stagewright.vm.disks import check_disk

EPOCH = 1795132800
MIB = 1 << 20
APPLIANCE = Appliance("demo & co", "demo", "1.0", efi=True)

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="NOT TESTED: needs qemu-img")


def raw_disk(folder: Path) -> Path:
    path = folder / "disk.img"
    with path.open("wb") as stream:
        stream.truncate(4 * MIB)
        stream.seek(MIB)
        stream.write(hashlib.sha256(b"content").digest() * 10_000)
    return path


def made(folder: Path, kind: Format) -> Path:
    folder.mkdir()
    target = folder / f"demo.{kind.suffix}"
    convert(kind, raw_disk(folder), target, APPLIANCE, EPOCH, io.StringIO())
    assert [path.name for path in folder.iterdir()] == [target.name], "temporary files are removed"
    return target


@needs_qemu_img
@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.RAW])
def test_a_format_has_the_same_bytes_twice(tmp_path: Path, kind: Format) -> None:
    first = made(tmp_path / "a", kind)
    if kind is Format.VHD:
        time.sleep(1.05)  # its footer has the time in seconds
    assert first.read_bytes() == made(tmp_path / "b", kind).read_bytes()


@pytest.mark.parametrize("drawn", ["1", "abc1234", "89abcdef"])
def test_an_identifier_of_any_length_is_replaced(drawn: str) -> None:
    """QEMU prints a number of 32 bits: one of sixteen has fewer than eight digits."""
    head = "# Disk DescriptorFile\nversion=1\nCID="
    tail = '\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
    image = io.BytesIO(bytes(512) + f"{head}{drawn}{tail}".encode().ljust(20 * 512, b"\0") + b"data")
    _vmdk(image, "demo", EPOCH)
    text = image.getvalue()[512:].partition(b"\0")[0].decode()
    assert re.fullmatch(re.escape(head) + "[0-9a-f]{8}" + re.escape(tail), text)
    assert len(image.getvalue()) == 512 + 20 * 512 + 4 and image.getvalue().endswith(b"data")


@needs_qemu_img
@pytest.mark.parametrize(
    ("kind", "name"), [(Format.QCOW2, "qcow2"), (Format.VMDK, "vmdk"), (Format.VHD, "vpc"), (Format.VDI, "vdi")]
)
def test_a_format_has_the_content_of_the_raw_image(tmp_path: Path, kind: Format, name: str) -> None:
    target = made(tmp_path / "a", kind)
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", name, raw_disk(tmp_path), target], check=True)
    if kind in (Format.QCOW2, Format.VDI):
        subprocess.run(["qemu-img", "check", "-f", name, target], check=True)
    if kind is Format.VHD:
        footer = bytearray(target.read_bytes()[-512:])
        stored = int.from_bytes(footer[64:68], "big")
        footer[64:68] = bytes(4)
        assert stored == ~sum(footer) & 0xFFFFFFFF
        assert int.from_bytes(footer[24:28], "big") + 946684800 == EPOCH


@needs_qemu_img
def test_an_ova_begins_with_its_description_and_has_valid_sums(tmp_path: Path) -> None:
    target = made(tmp_path / "a", Format.OVA)
    with tarfile.open(target) as archive:
        names = archive.getnames()
        assert names == ["demo.ovf", "demo.mf", "demo-disk1.vmdk"]
        data = {name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]
        assert {(one.mtime, one.uid, one.mode) for one in archive} == {(EPOCH, 0, 0o644)}
    assert target.read_bytes()[257:263] == b"ustar\0", "DSP0243 asks for ustar"
    for line in data["demo.mf"].decode().splitlines():
        name, digest = line.removeprefix("SHA256(").split(")= ")
        assert hashlib.sha256(data[name]).hexdigest() == digest
    ovf = "{http://schemas.dmtf.org/ovf/envelope/1}"
    envelope = ET.fromstring(data["demo.ovf"])
    assert [one.tag.removeprefix(ovf) for one in envelope] == [
        *("References", "DiskSection", "NetworkSection", "VirtualSystem")
    ]
    file, disk = envelope.find(f".//{ovf}File"), envelope.find(f".//{ovf}Disk")
    assert file is not None
    assert disk is not None
    assert (file.get(f"{ovf}href"), file.get(f"{ovf}size")) == ("demo-disk1.vmdk", str(len(data["demo-disk1.vmdk"])))
    assert (disk.get(f"{ovf}fileRef"), disk.get(f"{ovf}capacity")) == (file.get(f"{ovf}id"), str(4 * MIB))
    for item in envelope.iter(f"{ovf}Item"):
        fields = [one.tag.partition("}")[2] for one in item]
        assert fields == sorted(fields), "the schema of CIM has the elements in the order of their names"
    (tmp_path / "disk.vmdk").write_bytes(data["demo-disk1.vmdk"])
    subprocess.run(["qemu-img", "compare", "-f", "raw", raw_disk(tmp_path), tmp_path / "disk.vmdk"], check=True)


def test_code_for_bios_names_the_sector_of_its_partition(tmp_path: Path) -> None:
    image, core, mbr = (tmp_path / name for name in ("image", "core", "mbr"))
    image.write_bytes(os.urandom(512) + bytes(3 * MIB))
    table = image.read_bytes()[440:512]
    core.write_bytes(bytes(range(256)) * 8)
    mbr.write_bytes(b"m" * 512)
    BiosCode(core, mbr).write(image, MIB, MIB)
    data = image.read_bytes()
    assert data[440:512] == table, "the protective partition table stays"
    assert int.from_bytes(data[0x5C:0x64], "little") == MIB // 512
    assert int.from_bytes(data[MIB + 500 : MIB + 508], "little") == MIB // 512 + 1
    assert data[MIB + 508 : MIB + 2048] == core.read_bytes()[508:]
    with pytest.raises(StagewrightError) as caught:
        BiosCode(core, mbr).write(image, MIB, 1024)
    assert caught.value.reason is Reason.BUILD_FAILED


@needs_qemu_img
@pytest.mark.parametrize("kind", [kind for kind in Format if kind not in (Format.RAW, Format.QCOW2)])
def test_the_command_boot_says_how_to_convert_a_format_that_it_does_not_start(tmp_path: Path, kind: Format) -> None:
    target = made(tmp_path / "a", kind)
    with pytest.raises(StagewrightError) as caught:
        check_disk(target)
    assert caught.value.reason is Reason.BAD_ARCHIVE
    assert "qemu-img convert -O qcow2" in caught.value.hint
