"""`media check` of disk images: partitions, boot loaders, unified kernel images, and what is wrong with them."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_media_iso import efi_program

from stagewright.cli.main import run as stagewright
from stagewright.errors import Reason, StagewrightError
from stagewright.media.inspect import InspectedMedium
from stagewright.media.inspect_disk import inspect_disk, is_disk

MIB = 1 << 20
TOOLS = ("sfdisk", "mkfs.vfat", "mcopy", "qemu-img")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for tool in TOOLS),
    reason=f"NOT TESTED: needs {', '.join(TOOLS)}",
)

ROOT = "11111111-2222-3333-4444-555555555555"
TABLE = f"""label: gpt
size=4MiB, type=uefi, name="esp"
size=1MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, uuid={ROOT}, name="root disk"
"""
HASH = f"{ROOT.replace('-', '')}{'9' * 32}"


def entry(options: str) -> str:
    return f"title One\nlinux /linux\ninitrd /initrd\noptions {options}\n"


FILES = {
    "EFI/BOOT/BOOTX64.EFI": efi_program(),
    "loader/loader.conf": b"",
    "loader/entries/one.conf": entry(f"root=PARTUUID={ROOT.upper()} rw").encode(),
    "linux": b"kernel",
    "initrd": b"initramfs",
}


def run(*words: str | Path, stdin: str | None = None) -> None:
    path = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(words, check=True, capture_output=True, input=stdin, text=True, env=path)


def disk(folder: Path, table: str = TABLE, **changes: bytes | None) -> Path:
    """A raw disk of 8 MiB, and the files of its first partition. None removes a file."""
    image, esp = folder / "disk.img", folder / "esp.img"
    with image.open("wb") as stream:
        stream.truncate(8 * MIB)
    run("sfdisk", "--quiet", image, stdin=table)
    esp.unlink(missing_ok=True)
    run("mkfs.vfat", "-C", esp, "4096")
    for name, data in {**FILES, **changes}.items():
        file = folder / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        if data is not None:
            file.write_bytes(data)
    run("mcopy", "-s", "-i", esp, *sorted((folder / "tree").iterdir()), "::")
    with image.open("r+b") as stream:
        stream.seek(MIB)
        stream.write(esp.read_bytes())
    return image


def inspected(image: Path, work: Path) -> InspectedMedium:
    assert is_disk(image)
    work.mkdir()
    return inspect_disk(image, work)


def uki(command: str) -> bytes:
    """An EFI program with a section .cmdline."""
    program = bytearray(efi_program())
    at = struct.unpack_from("<I", program, 0x3C)[0] + 24 + 240
    struct.pack_into("<8sIIII", program, at, b".cmdline", len(command), 0x1000, len(command), len(program))
    return bytes(program) + command.encode()


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk", "vpc", "vdi"])
def test_an_image_of_any_format_has_the_same_contents(tmp_path: Path, kind: str) -> None:
    image = disk(tmp_path)
    if kind != "raw":
        options = {"vmdk": ["-o", "subformat=streamOptimized"], "vpc": ["-o", "force_size=on"]}
        run("qemu-img", "convert", "-f", "raw", "-O", kind, *options.get(kind, ()), image, tmp_path / "a, b")
        image = tmp_path / "a, b"
    found = inspected(image, tmp_path / "work")
    assert found.problems == []
    assert [(one.number, one.type, one.label) for one in found.partitions] == [
        (1, "esp", "esp"),
        (2, "root", "root disk"),
    ]
    assert [(one.start, one.size) for one in found.partitions] == [(MIB, 4 * MIB), (5 * MIB, MIB)]
    assert [(way.firmware, way.attach, way.arches) for way in found.ways] == [("uefi", "disk", ("amd64",))]
    assert found.loaders == ("systemd-boot",)
    assert [(one.title, one.kernel) for one in found.entries] == [("One", "linux")]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no loader": ({"EFI/BOOT/BOOTX64.EFI": None}, "not bootable: neither a program for UEFI"),
    "no initramfs": ({"initrd": None}, "initrd is not on the boot partitions"),
    "another root": (
        {"loader/entries/one.conf": entry("root=PARTUUID=99999999-2222-3333-4444-555555555555").encode()},
        "no partition of the disk has this UUID",
    ),
    "another label": ({"EFI/Linux/a.efi": uki("root=PARTLABEL=other")}, "no partition of the disk has this label"),
    "another hash": ({"EFI/Linux/a.efi": uki(f"roothash={HASH}")}, "roothash=: the disk has no partitions with"),
    "not of dm-verity": ({"EFI/Linux/a.efi": uki(f"root=PARTUUID={ROOT}")}, ""),
}


@pytest.mark.parametrize(("changes", "problem"), WRONG.values(), ids=WRONG)
def test_problems_of_boot_files(tmp_path: Path, changes: dict[str, bytes | None], problem: str) -> None:
    found = inspected(disk(tmp_path, **changes), tmp_path / "work")
    assert ("uki" in found.loaders) == ("EFI/Linux/a.efi" in changes)
    if problem:
        (text,) = found.problems
        assert problem in text
    else:
        assert found.problems == []


def test_problems_of_the_partition_table(tmp_path: Path) -> None:
    image = disk(tmp_path)
    with image.open("r+b") as stream:
        stream.truncate(5 * MIB + 512)
    problems = inspected(image, tmp_path / "cut").problems
    assert any("no backup in the last sector" in text for text in problems)
    assert any("partition 2 ends 1048064 bytes after the disk: the image is truncated" in text for text in problems)
    image = disk(tmp_path)
    with image.open("r+b") as stream:
        stream.seek(1024 + 200)
        stream.write(b"x")
    assert any("checksum of its entries" in text for text in inspected(image, tmp_path / "bits").problems)


def test_an_old_partition_table(tmp_path: Path) -> None:
    table = "label: dos\nlabel-id: 0x12345678\nsize=4MiB, type=ef\nsize=1MiB, type=83\n"
    conf = entry("root=PARTUUID=12345678-02").encode()
    image = disk(tmp_path, table, **{"loader/entries/one.conf": conf})
    found = inspected(image, tmp_path / "work")
    assert found.problems == []
    assert [(one.type, one.uuid) for one in found.partitions] == [
        ("esp", "12345678-01"),
        ("linux-generic", "12345678-02"),
    ]
    with image.open("r+b") as stream:
        stream.write(b"\xeb\x63\x90")
    found = inspected(image, tmp_path / "bios")
    assert [way.firmware for way in found.ways] == ["uefi", "bios"]


def test_an_image_that_is_the_layer_of_another_one_is_not_followed(tmp_path: Path) -> None:
    base = disk(tmp_path)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", tmp_path / "layer.qcow2")
    with pytest.raises(StagewrightError) as caught:
        inspected(tmp_path / "layer.qcow2", tmp_path / "work")
    assert caught.value.reason is Reason.BAD_ARCHIVE
    assert "layer of another one" in caught.value.hint


def test_the_command_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = disk(tmp_path)
    assert stagewright(["media", "check", str(image)]) == 0
    text = capsys.readouterr().out
    assert "disk.img: disk, 8 MiB" in text
    assert f"partition 2: root 'root disk', 1 MiB, {ROOT}" in text
    assert "boots: UEFI of amd64 from DISK" in text
    assert "nothing wrong" in text
    assert stagewright(["media", "check", "--json", str(image)]) == 0
    (medium,) = json.loads(capsys.readouterr().out)["media"]
    assert [one["type"] for one in medium["partitions"]] == ["esp", "root"]
    with (tmp_path / "none.img").open("wb") as stream:
        stream.truncate(MIB)
    assert stagewright(["media", "check", str(tmp_path / "none.img")]) == 2
    assert "a disk image" in capsys.readouterr().err
