"""The contents of initramfs images."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import time
import zlib
from pathlib import Path

import pytest
from roots import cpio

from stagewright.errors import Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind
from stagewright.media.initramfs_contents import InitramfsContents, align
from stagewright.media.netmodules import NetModule

MODULES = b"base\ndmsquash-live\nlivenet\n"


def look(folder: Path, data: bytes) -> InitramfsContents:
    (folder / "initramfs").write_bytes(data)
    return InitramfsContents.of(folder / "initramfs", folder)


@pytest.mark.parametrize("pack", ["gzip", "xz", "zstd", "none"])
def test_dracut_modules_are_read(tmp_path: Path, pack: str) -> None:
    driver = "usr/lib/modules/6.1/kernel/fs/squashfs/squashfs.ko.xz"
    files = {"init": b"x", "usr/lib/dracut/modules.txt": MODULES, driver: b"d", "usr/bin/checkisomd5": b"c" * 77}
    data = cpio(files)
    if pack != "none":
        data = subprocess.run([pack, "-c"], input=data, capture_output=True, check=True).stdout
    early = cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"m" * 33})
    found = look(tmp_path, early + bytes(508) + data)
    assert found.by is InitramfsKind.DRACUT
    assert found.network == (NetModule.LIVENET,)
    assert found.drivers == {"squashfs"}
    assert {"kernel/x86/microcode/AuthenticAMD.bin", *files} <= found.paths  # in all archives, one behind the other
    assert (found.has_program("checkisomd5"), found.has_program("isomd5")) == (True, False)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("usr/lib/dracut/dracut-106-6", 106),
        ("lib/dracut/dracut-059", 59),
        ("./usr/lib/dracut/dracut-110.1-r1", 110),
        ("usr/lib/dracut/dracut-git", 0),
        ("usr/lib/dracut/modules.txt", 0),
    ],
)
def test_the_version_of_dracut_is_read(tmp_path: Path, name: str, version: int) -> None:
    assert look(tmp_path, cpio({name: b"x"})).dracut == version


@pytest.mark.parametrize(
    ("modules", "program", "sets"),
    [
        (b"base i18n", "usr/lib/udev/console_init", True),
        (b"i18n systemd", "usr/lib/systemd/systemd-vconsole-setup", True),
        (b"i18n systemd", "usr/lib/systemd/systemd", False),  # Debian's systemd
        (b"base", "usr/lib/udev/console_init", False),
    ],
)
def test_a_keymap_needs_a_program_that_loads_it(tmp_path: Path, modules: bytes, program: str, sets: bool) -> None:
    files = {"usr/lib/dracut/modules.txt": modules, program: b"x", "usr/bin/loadkeys": b"x"}
    assert look(tmp_path, cpio(files)).sets_keymaps is sets


def test_genkernel_is_recognised(tmp_path: Path) -> None:
    found = look(tmp_path, gzip.compress(cpio({"init": b"x", "etc/initrd.scripts": b"#"})))
    assert (found.by, found.modules, found.network) == (InitramfsKind.GENKERNEL, None, ())


@pytest.mark.parametrize("data", [b"no initramfs at all", b"070701" + b"0" * 50, b"\x1f\x8bnot really"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StagewrightError) as caught:
        look(tmp_path, data)
    assert caught.value.reason is Reason.BAD_ARCHIVE


@pytest.mark.parametrize("field", [b"-0000070", b"0000_001", b"zzzzzzzz", b" 0000001", b"ffffffff"])
@pytest.mark.parametrize("place", [54, 94])
def test_invalid_numbers_are_refused(tmp_path: Path, field: bytes, place: int) -> None:
    """A negative size would lead back to the same header for ever."""
    data = bytearray(cpio({"init": b"x"}))
    data[place : place + 8] = field
    with pytest.raises(StagewrightError) as caught:
        look(tmp_path, bytes(data))
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_a_list_of_modules_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    data = cpio({"init": b"", "usr/lib/dracut/modules.txt": MODULES * 10})
    with pytest.raises(StagewrightError) as caught:
        look(tmp_path, data[: data.index(MODULES) + 8])
    assert caught.value.reason is Reason.BAD_ARCHIVE


@pytest.mark.slow
def test_padding_is_skipped_quickly(tmp_path: Path) -> None:
    started = time.process_time()
    assert look(tmp_path, bytes(100 << 20) + cpio({"init": b"x"})).paths == {"init"}
    assert time.process_time() - started < 3


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagewright.media.initramfs_contents._ALWAYS", 1 << 20)
    with pytest.raises(StagewrightError) as caught:
        look(tmp_path, gzip.compress(cpio({"init": bytes(30 << 20)})))
    assert caught.value.reason is Reason.BAD_ARCHIVE
    assert "too large" in caught.value.message


def test_an_initramfs_of_unknown_origin_is_accepted(tmp_path: Path) -> None:
    assert look(tmp_path, cpio({"init": b"x"})).by is None


COMPRESSORS = {
    "zstd": ["zstd", "-10", "-q", "-T0"],
    "zstd-large": ["zstd", "-1", "-q", "--no-check"],
    "xz": ["xz", "--check=crc32"],
    "gzip": ["gzip", "-9n"],
    "gzip-named": ["gzip", "-9"],
    "bzip2": ["bzip2", "-9"],
    "lz4": ["lz4", "-l", "-9", "-q"],
    "none": ["cat"],
}
EARLY = cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"m" * 33})


def packed(folder: Path, name: str, rest: int, *, early: bool = False) -> tuple[Path, bytes, int]:
    """An initramfs by a compressor whose size modulo four is ``rest``, its archive, and the least offset of that."""
    program, *options = COMPRESSORS[name]
    if shutil.which(program) is None:
        pytest.skip(f"NOT TESTED: no {program}")
    path, start = folder / "initramfs", len(EARLY) + 508 if early else 0
    for seed in range(60):
        noise = random.Random(seed).randbytes((150_000 if name.endswith("large") else 300) + seed)
        archive = cpio({"init": noise, "usr/lib/dracut/modules.txt": MODULES})
        (folder / "data").write_bytes(archive)
        words = [program, *options, *([] if program == "cat" else ["-c"]), folder / "data"]
        data = subprocess.run(words, capture_output=True, check=True).stdout
        if program == "cat":
            data += bytes(rest)
        elif early:
            data = bytes((rest - start - len(data)) % 4) + data
        if (start + len(data)) % 4 == rest:
            path.write_bytes((EARLY + bytes(508) if early else b"") + data)
            return path, archive, start
    raise AssertionError("the sizes of these archives are multiples of another number")


def programs_of(name: str) -> list[str]:
    return [COMPRESSORS[name][0], *(["-q"] if name == "lz4" else [])]


CASES = [
    (name, rest, early)
    for name in COMPRESSORS
    for rest in range(4)
    for early in (False, True)
    if name != "xz" or not rest or early  # sizes of xz files are multiples of four
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rest", "early"), CASES)
def test_an_archive_can_be_appended(tmp_path: Path, name: str, rest: int, early: bool) -> None:
    """The kernel reads an archive behind another one only at a multiple of four bytes. The content stays the same."""
    path, archive, start = packed(tmp_path, name, rest, early=early)
    before = InitramfsContents.of(path, tmp_path)
    path.chmod(0o640)
    align(path)
    data = path.read_bytes()
    assert len(data) % 4 == 0
    assert path.stat().st_mode & 0o777 == 0o640
    assert InitramfsContents.of(path, tmp_path) == before
    plain = data[start:].lstrip(b"\0")
    if name != "none":
        unpacked = subprocess.run([*programs_of(name), "-dc"], input=plain, capture_output=True, check=True)
        assert unpacked.stdout == archive
        assert subprocess.run([*programs_of(name), "-t"], input=plain, capture_output=True, check=False).returncode == 0
    align(path)
    assert path.read_bytes() == data
    assert list(tmp_path.glob("*.aligned")) == []


@pytest.mark.slow
@pytest.mark.parametrize("rest", range(4))
@pytest.mark.parametrize("name", ["zstd", "zstd-large", "lz4", "none"])
def test_an_appended_archive_is_read(tmp_path: Path, name: str, rest: int) -> None:
    path, _, _ = packed(tmp_path, name, rest)
    image = cpio({"image.squashfs.img": b"image"})
    if (len(path.read_bytes()) + (4 if name == "lz4" else 0)) % 4:
        path.write_bytes(path.read_bytes() + (bytes(4) if name == "lz4" else b"") + image)
        with pytest.raises(StagewrightError, match="not a multiple of four"):
            InitramfsContents.of(path, tmp_path)
        path, _, _ = packed(tmp_path, name, rest)
    align(path)
    path.write_bytes(path.read_bytes() + (bytes(4) if name == "lz4" else b"") + image)
    assert {"init", "image.squashfs.img"} <= InitramfsContents.of(path, tmp_path).paths


def test_an_archive_behind_gzip_is_where_the_kernel_looks(tmp_path: Path) -> None:
    path, archive, start = packed(tmp_path, "gzip", 1)
    align(path)
    image = cpio({"image.squashfs.img": b"image"})
    unpacking = zlib.decompressobj(wbits=31)
    assert unpacking.decompress((path.read_bytes() + image)[start:]) == archive
    assert unpacking.unused_data == image


@pytest.mark.parametrize("cut", [5, 9, 12, 40, -1])
def test_a_broken_archive_is_not_changed(tmp_path: Path, cut: int) -> None:
    data = subprocess.run(["zstd", "-q", "-c"], input=cpio({"init": b"x" * 99}), capture_output=True, check=True).stdout
    path = tmp_path / "initramfs"
    path.write_bytes(data[:cut])
    align(path)
    assert path.read_bytes() == data[:cut]
