"""Reproducible ISOs from ready parts, made with the real xorriso, mtools and osslsigncode, and inspected.

The parts are stand-ins with the marks that these programs require. Boot tests show that real ones boot.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagewright.arch import Arch
from stagewright.cli.boot_machine import BootImage, arch_of
from stagewright.cli.main import run as stagewright
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.media.livecd_stage3 import _theme
from stagewright.media.arguments import BootMode, InitramfsKind
from stagewright.media.direct import direct_boot
from stagewright.media.inspect import SHARED, BootPath, InspectedMedium, arches_of, inspect
from stagewright.media.iso import implant_md5, make_esp, make_iso
from stagewright.media.layout import MediumParts, boot_menu, iso_contents
from stagewright.media.loaders import BOOT_MBR, ELTORITO, Loader
from stagewright.media.payload import INITRAMFS, KERNEL, BootKernel, Payload
from stagewright.media.settings import IsoSettings
from stagewright.media.signing import SecureBoot, sign
from stagewright.media.uki import EfiStub, UkiParts, append_argument, make_uki

EPOCH = 20_000 * 86400
TOOLS = ("xorriso", "mcopy", "mkfs.vfat", "unsquashfs", "mksquashfs")

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"NOT TESTED: not all of {', '.join(TOOLS)} are here"
)


def efi_program() -> bytes:
    """The smallest EFI program: headers and one section (PE format, Microsoft)."""
    stub = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x22E)
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, 512, 0, 0, 0x1000, 0x1000)
    optional += struct.pack(
        "<QIIHHHHHHIIIIHHQQQQII", 0, 4096, 512, *([0] * 6), 0, 0x2000, 1024, 0, 10, 0, *([0] * 5), 16
    )
    section = struct.pack("<8sIIIIIIHHI", b".text", 16, 0x1000, 512, 1024, 0, 0, 0, 0, 0x60000020)
    headers = (stub.ljust(0x80, b"\0") + coff + optional.ljust(240, b"\0") + section).ljust(1024, b"\0")
    return headers + b"\xc3" * 512


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a payload, with a squashfs in it."""
    folder = tmp_path_factory.mktemp("payload")
    code = bytearray(4096)
    code[64:68] = b"\xfb\xc0\x78\x70"  # the mark of an isolinux image that boots from sticks
    files: dict[str, bytes] = {"boot/gentoo": efi_program(), "boot/gentoo.igz": b"initramfs" * 500}
    for loader in Loader:
        files[f"loaders/{loader}/BOOTX64.EFI"] = efi_program()
    files |= {f"loaders/grub-hybrid/{ELTORITO}": bytes(4096), f"loaders/grub-hybrid/{BOOT_MBR}": bytes(512)}
    files |= {"loaders/isolinux/isolinux.bin": bytes(code), f"loaders/isolinux/{BOOT_MBR}": bytes(432)}
    files |= {"loaders/uki/linuxx64.efi.stub": efi_program(), "loaders/grub/unicode.pf2": b"font"}
    files |= {"root/proc/x": b"", "theme/theme.txt": b"title-text: x", "theme/small.pf2": b"font"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    subprocess.run(["mksquashfs", folder / "root", folder / "image.squashfs", "-quiet", "-no-progress"], check=True)
    kernel = BootKernel("gentoo", "6.1", "boot/gentoo", "boot/gentoo.igz", InitramfsKind.DRACUT, True, (), True)
    Payload("amd64", (kernel,)).write(folder)
    return folder


def make(
    payload: Path, work: Path, loader: Loader, *, theme: Path | None = None, volume_id: str = "LIVE", **more: Any
) -> Path:
    settings = IsoSettings(loader=loader, **more)
    work.mkdir(parents=True, exist_ok=True)
    for name in ("loader", "media"):
        (work / name).mkdir()
    parts = MediumParts(Payload.read(payload), payload, payload / "image.squashfs", theme=theme)
    menu = boot_menu(settings, parts, settings.title or "T", volume_id)
    target = work / "out.iso"
    contents = iso_contents(settings, menu, parts, work / "loader", EPOCH)
    with target.open("xb") as image:
        make_iso(contents, image.write, work / "media", EPOCH, io.StringIO())
    return target


def look(path: Path, work: Path) -> InspectedMedium:
    work.mkdir(parents=True)
    return inspect(path, work)


GENTOO = "Gentoo amd64 20261120T000000Z"
"""A volume id that libosinfo knows."""

WAYS = {
    Loader.SYSTEMD_BOOT: {("uefi", "cd"), ("uefi", "usb")},
    Loader.GRUB: {("uefi", "cd"), ("uefi", "usb")},
    Loader.GRUB_HYBRID: {("uefi", "cd"), ("uefi", "usb"), ("bios", "cd"), ("bios", "usb")},
    Loader.ISOLINUX: {("bios", "cd")},  # from sticks too, but xorriso only reports that with the real first sector
    Loader.UKI: {("uefi", "cd"), ("uefi", "usb")},
}


@pytest.mark.slow
def test_a_kernel_that_was_changed_on_the_efi_system_partition_is_found(payload: Path, tmp_path: Path) -> None:
    iso = make(payload, tmp_path / "a", Loader.SYSTEMD_BOOT)
    report = subprocess.run(
        ["xorriso", "-indev", iso, "-report_el_torito", "plain"], capture_output=True, text=True, check=True
    ).stdout
    (block,) = re.findall(r"^El Torito boot img :.* UEFI .* (\d+)$", report, re.MULTILINE)
    offset = int(block) * 2048
    changed = tmp_path / "kernel"
    changed.write_bytes(b"another kernel")
    subprocess.run(["mcopy", "-o", "-i", f"{iso}@@{offset}", changed, "::boot/gentoo"], check=True)
    medium = look(iso, tmp_path / "look")
    assert medium.problems == ["EFI system partition against the ISO: boot/gentoo does not match"]


@pytest.mark.slow
@pytest.mark.parametrize("loader", list(Loader))
def test_an_iso_is_reproducible_and_boots_as_its_loader_allows(payload: Path, tmp_path: Path, loader: Loader) -> None:
    entries = list(BootMode) if loader.has_menu else []
    first = make(payload, tmp_path / "a", loader, entries=entries, volume_id=GENTOO)
    time.sleep(1.1)  # a clock in the image would show
    second = make(payload, tmp_path / "b", loader, entries=entries, volume_id=GENTOO)
    assert first.read_bytes() == second.read_bytes()
    medium = look(first, tmp_path / "look")
    assert {(way.firmware, way.attach) for way in medium.ways} == WAYS[loader]
    assert {way.arches for way in medium.ways} == {("amd64",) if way.firmware == "uefi" else () for way in medium.ways}
    assert medium.problems == []
    assert medium.volume_id == GENTOO
    assert medium.loaders == ("grub" if loader.is_grub else str(loader),)
    compared = {"EFI system partition against the ISO"} if loader is Loader.SYSTEMD_BOOT else set()
    assert {check.against for check in medium.checks} == {"sha512sums", *compared}
    assert all(check.files >= (2 if check.against in compared else 3) for check in medium.checks)
    assert {"boot/gentoo", "boot/gentoo.igz", "image.squashfs"} == set(medium.shared)
    assert {entry.title for entry in medium.entries if "memory" in entry.title} or not loader.has_menu
    start = "root=live:CDLABEL=Gentoo\\x20amd64\\x2020261120T000000Z "
    assert all(entry.arguments.startswith(start) for entry in medium.entries)
    assert {entry.file for entry in medium.entries} >= {"boot/grub/grub.cfg"}
    for name in ("grub.cfg", "loopback.cfg"):
        text = (tmp_path / "look/iso/boot/grub" / name).read_text(encoding="utf-8")
        assert text.count("menuentry") == 1 + len(entries)
        if shutil.which("grub-script-check"):
            subprocess.run(["grub-script-check"], input=text.encode(), check=True)
        lines = [line for line in text.splitlines() if "linux /boot" in line]
        assert len(lines) == (1 if name == "grub.cfg" else 1 + len(entries)), "programs take the one with arguments"
        if name == "loopback.cfg":
            assert all(line.endswith(" iso-scan/filename=${iso_path}") for line in lines)


def identifiers(iso: Path) -> dict[str, set[str]]:
    """The identifiers by which kernels and boot loaders distinguish disks."""
    table = json.loads(subprocess.run(["sfdisk", "-J", iso], capture_output=True, text=True, check=True).stdout)
    table = table["partitiontable"]
    esp = next(part for part in table["partitions"] if part["type"].startswith("C12A"))
    probes = {
        "file system": ["blkid", "-p", "-o", "value", "-s", "UUID", iso],
        "esp": ["blkid", "-p", "-o", "value", "-s", "UUID", "-O", str(esp["start"] * 512), iso],
    }
    found = {
        name: {subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()}
        for name, words in probes.items()
    }
    return {**found, "disk": {table["id"]}, "partitions": {part["uuid"] for part in table["partitions"]}}


@pytest.mark.slow
def test_two_media_have_different_identifiers(payload: Path, tmp_path: Path) -> None:
    """With two sticks in a machine, kernels and boot loaders could otherwise take either."""
    first, second = (identifiers(make(payload, tmp_path / name, Loader.GRUB, title=name)) for name in "ab")
    assert all(first[name].isdisjoint(second[name]) for name in first)
    (uuid,) = first["file system"]
    assert uuid.startswith("2024-10-04-00-")  # the day and hour of the time stamp
    assert len(first["partitions"]) == len(second["partitions"]) > 1


@pytest.mark.slow
def test_the_architectures_of_an_iso_are_found(payload: Path, tmp_path: Path) -> None:
    for name, loader, arches in (("a", Loader.GRUB, ["amd64"]), ("b", Loader.ISOLINUX, [])):
        (tmp_path / f"look-{name}").mkdir()
        image = make(payload, tmp_path / name, loader)
        assert arches_of(image, tmp_path / f"look-{name}") == arches
        assert arch_of(BootImage(image, Arch.ARM64), tmp_path / f"arch-{name}") == (arches or ["arm64"])[0]
    folder = tmp_path / "arm"
    shutil.copytree(payload, folder)
    (folder / "payload.json").write_text(
        (folder / "payload.json").read_text(encoding="utf-8").replace('"amd64"', '"arm64"'), encoding="utf-8"
    )
    (folder / "loaders/grub/BOOTX64.EFI").rename(folder / "loaders/grub/BOOTAA64.EFI")
    image = make(folder, tmp_path / "c", Loader.GRUB)
    assert arch_of(BootImage(image, Arch.AMD64), tmp_path / "arch-c") is Arch.ARM64
    medium = look(image, tmp_path / "look")
    assert {way.arches for way in medium.ways} == {("arm64",)}


def test_a_theme_is_on_the_medium_and_in_the_menu(payload: Path, tmp_path: Path) -> None:
    medium = look(make(payload, tmp_path / "a", Loader.GRUB, theme=payload / "theme"), tmp_path / "look")
    theme = {name for name in medium.files if name.startswith("boot/grub/theme/")}
    assert theme == {f"boot/grub/theme/{name}" for name in ("theme.txt", "small.pf2", "unicode.pf2")}
    (tmp_path / "empty").mkdir()
    with pytest.raises(StagewrightError, match=r"no theme.txt") as caught:
        make(payload, tmp_path / "b", Loader.GRUB, theme=tmp_path / "empty")
    assert caught.value.reason is Reason.BUILD_FAILED


def test_a_loader_that_the_payload_lacks_is_reported(payload: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(payload, tmp_path / "payload")
    shutil.rmtree(folder / "loaders/uki")
    with pytest.raises(StagewrightError) as caught:
        make(folder, tmp_path / "a", Loader.UKI)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS


def test_the_efi_system_partition_has_the_requested_size_or_fails(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(3 << 20))
    files = {"EFI/BOOT/X": big}
    image = make_esp(files, tmp_path / "esp.img", tmp_path / "a", EPOCH, io.StringIO(), "1", least=16 << 20)
    assert image.stat().st_size == 16 << 20
    with pytest.raises(StagewrightError, match="need 5 MiB") as caught:
        make_esp(files, tmp_path / "esp.img", tmp_path / "b", EPOCH, io.StringIO(), "1", least=2 << 20)
    assert caught.value.reason is Reason.BUILD_FAILED
    with big.open("r+b") as stream:
        stream.truncate(4 << 30)  # sparse
    with pytest.raises(StagewrightError, match="below 4 GiB"):
        make_esp(files, tmp_path / "esp.img", tmp_path / "c", EPOCH, io.StringIO(), "1")


def test_the_times_of_files_are_not_on_the_efi_system_partition(tmp_path: Path) -> None:
    images = []
    for number, when in enumerate((EPOCH - 99_999, EPOCH + 99_999)):
        file = tmp_path / f"program{number}"
        file.write_bytes(b"a program")
        os.utime(file, (when, when))
        files = {"EFI/BOOT/BOOTX64.EFI": file}
        image = make_esp(files, tmp_path / f"{number}.img", tmp_path / str(number), EPOCH, io.StringIO(), "1")
        images.append(image.read_bytes())
    assert images[0] == images[1]


@pytest.mark.slow
def test_an_implanted_digest_is_reproducible_and_checked(payload: Path, tmp_path: Path) -> None:
    for tool in ("implantisomd5", "checkisomd5"):
        if shutil.which(tool) is None:
            pytest.skip(f"NOT TESTED: no {tool}")
    images = [make(payload, tmp_path / name, Loader.GRUB_HYBRID) for name in "ab"]
    for image in images:
        implant_md5(image, io.StringIO())
    assert images[0].read_bytes() == images[1].read_bytes()
    assert subprocess.run(["checkisomd5", images[0]], check=False).returncode == 0
    data = bytearray(images[0].read_bytes())
    data[len(data) // 2] ^= 1
    images[0].write_bytes(data)
    assert subprocess.run(["checkisomd5", images[0]], check=False).returncode == 1


@pytest.mark.slow
def test_signatures_are_reproducible(tmp_path: Path) -> None:
    if shutil.which("osslsigncode") is None:
        pytest.skip("NOT TESTED: no osslsigncode")
    key, certificate = tmp_path / "key", tmp_path / "crt"
    words = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    secure, files = SecureBoot(key=str(key), certificate="crt"), {"crt": certificate}
    signed = []
    for name in "ab":
        program = tmp_path / f"{name}.efi"
        program.write_bytes(efi_program())
        sign(program, secure, files, EPOCH, io.StringIO())
        signed.append(program.read_bytes())
        time.sleep(1.1)
    assert signed[0] == signed[1]
    assert len(signed[0]) > len(efi_program())
    key.write_text("no key", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        sign(tmp_path / "a.efi", secure, files, EPOCH, io.StringIO())
    assert caught.value.reason is Reason.BUILD_FAILED
    assert (tmp_path / "a.efi").read_bytes() == signed[0]
    assert not list(secure.missing(files))
    key.unlink()
    assert [lack.reason for lack in secure.missing(files)] == [Reason.MISSING_FILE]


def test_files_other_than_efi_programs_are_refused(tmp_path: Path) -> None:
    stub = EfiStub.of(efi_program(), "stub")
    assert (stub.sections, stub.address, stub.end) == (1, 0x1010, 1536)
    for data in (b"", b"MZ" * 40, efi_program().replace(b"PE\0\0", b"NE\0\0")):
        with pytest.raises(StagewrightError) as caught:
            EfiStub.of(data, "stub")
        assert caught.value.reason is Reason.ENVIRONMENT_LACKS


@pytest.mark.parametrize("machine", [0x8664, 0xAA64])
def test_a_unified_kernel_image_for_any_architecture(tmp_path: Path, machine: int) -> None:
    stub = bytearray(efi_program() + b"symbols")
    struct.pack_into("<H", stub, 0x84, machine)
    for name, data in {"stub": bytes(stub), "kernel": b"k" * 5000, "initramfs": b"i" * 100}.items():
        (tmp_path / name).write_bytes(data)
    parts = UkiParts(*(tmp_path / name for name in ("stub", "kernel", "initramfs")), "root=x", "ID=live\n", "6.1")
    make_uki(parts, tmp_path / "out.efi", EPOCH)
    made = (tmp_path / "out.efi").read_bytes()
    assert made[:2] == b"MZ"
    header = struct.unpack_from("<4sHHIII", made, 0x80)
    assert header == (b"PE\0\0", machine, 6, EPOCH, 0, 0)
    table = [struct.unpack_from("<8sIIII", made, 0x80 + 24 + 240 + 40 * number) for number in range(6)]
    found = {name.rstrip(b"\0"): made[offset : offset + size] for name, size, _, _, offset in table}
    assert found[b".linux"] == b"k" * 5000
    assert found[b".initrd"] == b"i" * 100
    assert found[b".cmdline"] == b"root=x\0"
    # in order; without gaps in the file, as signatures require; aligned to pages in memory
    assert all(one[4] + one[3] == other[4] for one, other in itertools.pairwise(table))
    assert all(one[2] + one[1] <= other[2] and other[2] % 4096 == 0 for one, other in itertools.pairwise(table))
    assert table[-1][4] + table[-1][3] == len(made)
    assert struct.unpack_from("<I", made, 0x80 + 24 + 56)[0] >= table[-1][2] + 5000
    place = 0x80 + 24 + 64
    rest = 0
    for (word,) in struct.iter_unpack("<H", made[:place] + bytes(4) + made[place + 4 :]):
        rest = (rest + word & 0xFFFF) + (rest + word >> 16)
    assert struct.unpack_from("<I", made, place)[0] == rest + len(made)


def test_a_stub_without_room_is_refused(tmp_path: Path) -> None:
    stub = EfiStub.of(efi_program(), "stub")
    with pytest.raises(StagewrightError) as caught:
        stub.with_sections(efi_program(), [bytes(40)] * (stub.room + 1), 0, EPOCH)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS


def test_an_argument_is_appended_to_the_command_line_of_a_kernel_image(tmp_path: Path) -> None:
    stub, kernel, initramfs, image = (tmp_path / name for name in ("stub", "kernel", "initramfs", "out.efi"))
    for path in (stub, kernel, initramfs):
        path.write_bytes(efi_program())
    make_uki(UkiParts(stub, kernel, initramfs, "ro quiet", "ID=live\n", "6.1"), image, EPOCH)
    before = image.read_bytes()
    append_argument(image, "rdinit=/missing")
    after = image.read_bytes()
    place = before.index(b"ro quiet\0" + bytes(100))
    text = b"ro quiet rdinit=/missing\0"
    assert after[place:].startswith(text) and after[place + len(text) :] == before[place + len(text) :]
    entry = before.index(b".cmdline")
    assert struct.unpack_from("<I", after, entry + 8)[0] == len(text)
    assert after[:entry] == before[:entry] and after[entry + 12 : place] == before[entry + 12 : place]
    with pytest.raises(StagewrightError, match="no room"):
        append_argument(image, "x" * 512)
    for data in (efi_program(), b"MZ"):
        with pytest.raises(StagewrightError, match="not a unified kernel image") as caught:
            append_argument(_written(image, data), "x")
        assert caught.value.reason is Reason.BAD_ARCHIVE


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("loader", [Loader.GRUB, Loader.UKI])
def test_the_kernel_of_an_iso_can_be_started_directly(payload: Path, tmp_path: Path, loader: Loader) -> None:
    iso = make(payload, tmp_path / "iso", loader)
    (tmp_path / "work").mkdir()
    found = direct_boot(iso, tmp_path / "work")
    assert (found.kernel, found.initramfs) == (KERNEL, INITRAMFS)
    assert [path.read_bytes() for path in found.copies] == [(payload / name).read_bytes() for name in SHARED[:2]]
    assert "root=live:CDLABEL=LIVE" in found.arguments
    assert found.on_serial("ttyS0").endswith(" console=ttyS0,115200")


@pytest.mark.slow
def test_media_check_prints_the_command_of_virt_install(
    payload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    iso = make(payload, tmp_path / "a", Loader.ISOLINUX, volume_id=GENTOO)
    assert stagewright(["media", "check", str(iso)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "virt-install" in line]
    words = shlex.split(line.partition(": ")[2])
    assert words[0] == "virt-install"
    assert words[words.index("-l") + 1] == f"{iso},kernel=boot/gentoo,initrd=boot/gentoo.igz"
    arguments = words[words.index("--extra-args") + 1].split()
    assert arguments[0] == r"root=live:CDLABEL=Gentoo\x20amd64\x2020261120T000000Z"
    assert arguments[-1] == "console=ttyS0,115200"
    assert "--boot" not in words, "it starts with BIOS only"
    iso = make(payload, tmp_path / "b", Loader.UKI)
    assert stagewright(["media", "check", "--json", str(iso)]) == 0
    assert "--boot uefi," in json.loads(capsys.readouterr().out)["media"][0]["virt_install"]


def test_a_changed_file_on_a_medium_is_reported(payload: Path, tmp_path: Path) -> None:
    image = make(payload, tmp_path / "a", Loader.GRUB)
    image.write_bytes(image.read_bytes().replace(b"initramfsinitramfs", b"initramfsINITRAMFS"))
    medium = look(image, tmp_path / "look")
    assert medium.problems == ["sha512sums: boot/gentoo.igz does not match"]


@pytest.mark.slow
def test_other_files_and_folders_are_refused(payload: Path, tmp_path: Path) -> None:
    whole = make(payload, tmp_path / "a", Loader.GRUB).read_bytes()
    bad = {
        "short": whole[: len(whole) // 2],
        "header": whole[:40_000],
        "text": b"no image\n" * 9000,
        "empty": b"",
    }
    for name, data in bad.items():
        with pytest.raises(StagewrightError) as caught:
            inspect(_written(tmp_path / name, data), tmp_path / "look")
        assert caught.value.reason is Reason.BAD_ARCHIVE
    (tmp_path / "folder").mkdir()
    with pytest.raises(StagewrightError) as caught:
        inspect(tmp_path / "folder", tmp_path / "look")
    assert caught.value.reason is Reason.BAD_ARCHIVE
    with pytest.raises(StagewrightError) as caught:
        inspect(tmp_path / "nothing", tmp_path / "look")
    assert caught.value.reason is Reason.MISSING_FILE


def test_an_iso_that_cannot_boot_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/readme").write_text("x", encoding="utf-8")
    image = tmp_path / "data.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", image, tmp_path / "tree"], check=True)
    medium = look(image, tmp_path / "look")
    assert medium.ways == ()
    assert "not bootable" in medium.problems[0]


@pytest.mark.slow
def test_the_command(payload: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An ISO and a folder with the same files; then with other ones."""
    image = make(payload, tmp_path / "a", Loader.GRUB_HYBRID)
    folder = tmp_path / "folder"
    for name in ("boot/gentoo", "boot/gentoo.igz", "image.squashfs"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(payload / name, folder / name)
    assert stagewright(["media", "check", str(image), str(folder)]) == 0
    said = capfd.readouterr().out
    assert said.count("the same on all") == 3
    assert "boots: BIOS from USB" in said
    (folder / "boot/gentoo").write_text("other", encoding="utf-8")
    assert stagewright(["media", "check", "--json", str(image), str(folder)]) == 1
    data = json.loads(capfd.readouterr().out)
    assert data["same"] == {"boot/gentoo": False, "boot/gentoo.igz": True, "image.squashfs": True}
    assert data["media"][0]["problems"] == []
    assert BootPath(**data["media"][0]["ways"][0]).firmware == "uefi"
    assert stagewright(["media", "check", str(tmp_path / "a")]) == 2
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: archives are unpacked in a sandbox of root")
def test_a_theme_can_be_a_tarball(tmp_path: Path) -> None:
    theme = tmp_path / "boot/grub/themes/frosted"
    theme.mkdir(parents=True)
    (theme / "theme.txt").write_text("title-text: x", encoding="utf-8")
    for name, inner in (("good", "boot"), ("bad", "none")):
        (tmp_path / "none").mkdir(exist_ok=True)
        subprocess.run(["tar", "-cjf", tmp_path / f"{name}.tar.bz2", "-C", tmp_path, inner], check=True)

    def unpacked(name: str) -> Path:
        (tmp_path / f"{name}.d").mkdir()
        work = SimpleNamespace(new_folder=lambda _: tmp_path / f"{name}.d", log=io.StringIO())
        return _theme(tmp_path / f"{name}.tar.bz2", work)  # type: ignore[arg-type]

    assert (unpacked("good") / "theme.txt").read_text(encoding="utf-8") == "title-text: x"
    with pytest.raises(StagewrightError, match=r"no theme.txt"):
        unpacked("bad")
    assert _theme(theme, None) == theme  # type: ignore[arg-type]
