"""Sets for network boot from small ISOs with the layouts of many projects."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.netboot.from_iso import ExtractedSet, from_iso

TOOLS = ("xorriso", "mksquashfs", "unsquashfs", "gzip")
pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"NOT TESTED: not all of {', '.join(TOOLS)} are here"
)

LIVE = "root=live:CDLABEL=LIVE rd.live.dir=/ rd.live.squashimg=image.squashfs"


def cpio(files: dict[str, bytes]) -> bytes:
    """Return an archive in cpio's "newc" format."""
    archive = b""
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        fields = [number, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + data
        archive += b"\0" * (-len(archive) % 4)
    return archive


DRACUT = gzip.compress(cpio({"init": b"", "usr/lib/dracut/modules.txt": b"base\ndmsquash-live\n"}), mtime=0)
GENKERNEL = gzip.compress(cpio({"init": b"", "etc/initrd.scripts": b""}), mtime=0)
MODULES = gzip.compress(cpio({"lib/modules/6.1/a.ko": b"module"}), mtime=0)
FOREIGN = gzip.compress(cpio({"init": b""}), mtime=0)
MICROCODE = cpio({"kernel/x86/microcode/GenuineIntel.bin": bytes(2048)})


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("root")
    (folder / "root").mkdir()
    subprocess.run(["mksquashfs", folder / "root", folder / "image", "-quiet", "-no-progress"], check=True)
    return (folder / "image").read_bytes()


@pytest.fixture
def extract(tmp_path: Path, image: bytes):
    """Return a function that makes an ISO of some files and a set of the ISO."""

    def make(files: dict[str, bytes | str]) -> ExtractedSet:
        all_files = {"image.squashfs": image, "boot/k": b"kernel", "boot/i": DRACUT, **files}
        for name, data in all_files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        words = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "LIVE", "-o", tmp_path / "x.iso", tmp_path / "tree"]
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
        return from_iso(tmp_path / "x.iso", tmp_path / "set")

    return make


def grub(entry: str, before: str = "") -> dict[str, bytes | str]:
    return {"boot/grub/grub.cfg": f"{before}\nmenuentry 'Live' {{ {entry} }}\n"}


def test_the_initramfs_with_programs_is_taken_and_microcode_is_noted(extract, tmp_path: Path) -> None:
    made = extract({**grub(f"linux /boot/k {LIVE}; initrd /boot/ucode.img /boot/i"), "boot/ucode.img": MICROCODE})
    assert (tmp_path / "set/boot/gentoo.igz").read_bytes() == DRACUT
    assert [note for note in made.notes if "ucode.img" in note]


def test_several_archives_with_programs_are_joined_in_order(extract, tmp_path: Path) -> None:
    extract({**grub(f"linux /boot/k {LIVE}\n initrd /boot/i /boot/m"), "boot/m": MODULES})
    joined = (tmp_path / "set/boot/gentoo.igz").read_bytes()
    assert joined.startswith(DRACUT)
    assert joined.rstrip(b"\0").endswith(MODULES.rstrip(b"\0"))
    assert len(joined) % 4 == 0


def test_the_default_of_the_menu_is_taken(extract) -> None:
    rescue = f"menuentry Rescue {{ linux /boot/k {LIVE} single\n initrd /boot/i }}"
    made = extract(grub(f"linux /boot/k {LIVE} quiet\n initrd /boot/i", f"set default=1\n{rescue}"))
    assert made.entry.title == "Live"


def test_isolinux_names_its_files_relative_to_its_folder(extract, tmp_path: Path) -> None:
    menu = "default gentoo\nlabel gentoo\n kernel gentoo\n append root=/dev/ram0 cdroot initrd=gentoo.igz vga=791\n"
    files: dict[str, bytes | str] = {
        "isolinux/isolinux.cfg": menu,
        "isolinux/gentoo": b"k",
        "isolinux/gentoo.igz": GENKERNEL,
    }
    made = extract(files)
    assert made.parts["initramfs"] == "isolinux/gentoo.igz"
    assert "vga=791" in (tmp_path / "set/boot.ipxe").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", ["archisobasedir=arch", "boot=live", "boot=casper", LIVE])
def test_an_initramfs_of_another_project_is_refused(extract, tmp_path: Path, arguments: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        extract({**grub(f"linux /boot/k {arguments}\n initrd /boot/foreign"), "boot/foreign": FOREIGN})
    assert caught.value.reason is Reason.BAD_ARCHIVE
    assert "foreign" in caught.value.message
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: mounting needs root")
@pytest.mark.parametrize("size", ["1m", "3m", "7m"])
def test_a_full_disk_is_named_and_not_the_iso(extract, tmp_path: Path, size: str) -> None:
    extract({**grub(f"linux /boot/k {LIVE}\ninitrd /boot/i"), "more": random.Random(1).randbytes(8 << 20)})
    (tmp_path / "small").mkdir()
    command = f'"{sys.executable}" -m stagewright netboot from-iso x.iso -o small/s'
    line = f"mount -t tmpfs -o size={size} none small && {command}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "error: no space left in small" in done.stderr
    assert "twice the size of the ISO" in done.stderr
