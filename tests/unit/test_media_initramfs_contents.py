"""The contents of initramfs images."""

from __future__ import annotations

import gzip
import subprocess
import time
from pathlib import Path

import pytest
from roots import cpio

from stagewright.errors import Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind
from stagewright.media.initramfs_contents import InitramfsContents
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
