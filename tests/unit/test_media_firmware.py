"""Firmware, microcode, memtest86+ and boot loaders of an environment: requested files and missing ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from roots import EPOCH, as_root, cpio, in_sandbox, make_root, with_shell

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import KernelFeatures, read_features
from stagewright.media.efi import EfiArch
from stagewright.media.firmware_files import CHOSEN, choose_firmware, copy_firmware, missing_firmware
from stagewright.media.initramfs import TOOLS, DracutRun, InitramfsSettings, make_initramfs, missing_for_dracut
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.loaders import BOOT_MBR, Loader
from stagewright.media.memtest import missing_memtest, take_memtest
from stagewright.netboot.programs import NetLoader
from stagewright.root.root import Root

pytestmark = as_root

FIRMWARE = {f"lib/firmware/{name}": name for name in ("wifi-1.bin", "wifi-2.bin", "gpu/a.bin", "intel-ucode/06-01")}
X64 = EfiArch.of(Arch.AMD64)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return make_root(tmp_path / "root", FIRMWARE, links={"lib/firmware/old.bin": "gpu/a.bin"})


def chosen(root: Root) -> set[str]:
    folder = root.path / CHOSEN.lstrip("/")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_no_firmware_is_copied_without_a_pattern(root: Root) -> None:
    firmware = choose_firmware(root, [], microcode=False)
    assert (firmware.files, firmware.microcode, chosen(root)) == ((), (), set())


def test_matching_firmware_is_copied_with_targets_of_links(root: Root, tmp_path: Path) -> None:
    firmware = choose_firmware(root, ["wifi-*", "old.bin"], microcode=True)
    assert firmware.files == ("gpu/a.bin", "old.bin", "wifi-1.bin", "wifi-2.bin")
    assert firmware.microcode == ("intel-ucode/06-01",)
    assert chosen(root) == {*firmware.files, *firmware.microcode}
    copy_firmware(root, firmware, tmp_path / "payload")
    assert (tmp_path / "payload/old.bin").readlink() == Path("gpu/a.bin")
    assert not (tmp_path / "payload/intel-ucode").exists()


def test_all_missing_firmware_is_reported_at_once(tmp_path: Path) -> None:
    lacks = missing_firmware(make_root(tmp_path), ["wifi-*", "gpu"], microcode=True, where="it")
    assert [word in lack.message for lack, word in zip(lacks, ("wifi-*", "gpu", "microcode"), strict=True)] == [
        True
    ] * 3


def test_memtest_is_found_at_the_paths_of_distributions(tmp_path: Path) -> None:
    assert missing_memtest(make_root(tmp_path / "without"), X64)
    gentoo = {"boot/memtest86plus/memtest.efi64": "efi", "boot/memtest86plus/memtest64.bios": "bin"}
    for number, texts in enumerate(({"boot/memtest86+x64.efi": "efi", "boot/memtest86+x64.bin": "bin"}, gentoo)):
        root = make_root(tmp_path / str(number), texts)
        assert missing_memtest(root, X64) == []
        target = tmp_path / f"taken{number}"
        target.mkdir()
        take_memtest(root, target)
        assert {path.name: path.read_text(encoding="utf-8") for path in target.iterdir()} == {
            "memtest.efi": "efi",
            "memtest.bin": "bin",
        }


@pytest.mark.parametrize("loader", list(Loader))
def test_a_missing_loader_is_reported(tmp_path: Path, loader: Loader) -> None:
    (lack, *_) = loader.missing(make_root(tmp_path), X64)
    assert str(loader) in lack.message
    assert "install" in lack.hint


def test_loaders_are_found_at_the_paths_of_gentoo(tmp_path: Path) -> None:
    names = ("isolinux.bin", "isohdpfx.bin", "ldlinux.c32", "libcom32.c32", "libutil.c32", "menu.c32")
    texts = {f"usr/share/syslinux/{name}": name for name in names}
    texts |= {f"usr/lib/systemd/boot/efi/{name}": name for name in ("systemd-bootaa64.efi", "linuxx64.efi.stub")}
    root = make_root(tmp_path / "root", texts)
    taken = tmp_path / "taken"
    taken.mkdir()
    assert not list(Loader.ISOLINUX.missing(root, X64))
    Loader.ISOLINUX.take(root, X64, taken, "/unused")
    assert (taken / BOOT_MBR).read_text(encoding="utf-8") == "isohdpfx.bin"
    assert {path.name for path in taken.iterdir()} == {*names, BOOT_MBR} - {"isohdpfx.bin"}
    assert list(Loader.SYSTEMD_BOOT.missing(root, X64))
    arm = EfiArch.of(Arch.ARM64)
    assert not list(Loader.SYSTEMD_BOOT.missing(root, arm))
    Loader.SYSTEMD_BOOT.take(root, arm, taken, "/unused")
    assert (taken / "BOOTAA64.EFI").read_text(encoding="utf-8") == "systemd-bootaa64.efi"
    assert list(Loader.GRUB_HYBRID.missing(root, arm))


def test_programs_for_pcs_are_refused_on_arm64(tmp_path: Path) -> None:
    arm, root = EfiArch.of(Arch.ARM64), make_root(tmp_path)
    lacks = [*missing_memtest(root, arm), *NetLoader.IPXE.missing(root, arm), *NetLoader.PXELINUX.missing(root, arm)]
    assert len(lacks) == 3
    assert all("amd64 and x86" in lack.message for lack in lacks)
    (grub,) = Loader.GRUB.missing(root, arm)
    assert "grub-efi-arm64-bin" in grub.hint
    assert "grub-pc-bin" not in grub.hint
    (net,) = NetLoader.GRUB.missing(root, arm)
    assert "arm64-efi" in net.message


def test_unsupported_architectures_are_reported() -> None:
    with pytest.raises(StagewrightError) as caught:
        EfiArch.of(Arch.M68K)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS


def test_missing_programs_for_dracut_are_reported(tmp_path: Path) -> None:
    settings = InitramfsSettings()
    assert "no dracut" in missing_for_dracut(settings, make_root(tmp_path / "a"), "it")[0].message
    tools = {f"usr/bin/{name}*": "" for name in ("dracut", *TOOLS)}
    root = make_root(tmp_path / "b", tools)
    (lack,) = missing_for_dracut(settings, root, "it")
    assert all(name in lack.message for name in ("ip ", "arping", "dhclient", "curl", "pgrep"))
    assert missing_for_dracut(InitramfsSettings(modules=["dmsquash-live"]), root, "it") == []


DRACUT = """#!/bin/sh
for last; do :; done
cat /made > "$last"
test -z "$FAIL" || echo "dracut: dracut module 'dmsquash-live' depends on 'dm', which can't be installed"
test -z "$FAIL"
"""
MADE = {
    "usr/lib/dracut/modules.txt": b"base\ndmsquash-live\nstagewright-memory\nstagewright-label\n",
    "usr/lib/modules/6.1/kernel/fs/squashfs/squashfs.ko": b"x",
    "usr/bin/checkisomd5": b"x",
}


@pytest.fixture
def maker(tmp_path: Path) -> Root:
    """A root with a stand-in for dracut, since the real one cannot be made to omit a module on request."""
    root = with_shell(make_root(tmp_path / "root", {"usr/bin/dracut*": DRACUT}))
    (root.path / "made").write_bytes(cpio(MADE))
    return Root(root.path, root.upper, log=io.StringIO())


def made(root: Root, settings: InitramfsSettings, able: KernelFeatures, **env: str) -> InitramfsContents:
    making = DracutRun("6.1", "/initramfs", root.path / "initramfs", microcode=False, epoch=EPOCH)
    return make_initramfs(settings, root.with_binds(**env), making, able)


@in_sandbox
def test_the_contents_of_a_new_initramfs_are_checked(maker: Root) -> None:
    settings = InitramfsSettings(modules=["dmsquash-live"])
    builtin = frozenset({"overlay", "loop", "isofs"})
    contents = made(maker, settings, KernelFeatures(None, frozenset({"squashfs"}), builtin))
    assert contents.has_program("checkisomd5")
    options = {"SQUASHFS": "m", "OVERLAY_FS": "m", "BLK_DEV_LOOP": "y", "ISO9660_FS": "m"}
    with pytest.raises(StagewrightError, match="overlay, iso9660") as caught:
        made(maker, settings, KernelFeatures(options, frozenset(), frozenset()))
    assert caught.value.reason is Reason.BUILD_FAILED
    with pytest.raises(StagewrightError, match="livenet") as caught:
        made(maker, InitramfsSettings(), KernelFeatures(None, frozenset(), builtin))
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS


ABLE = KernelFeatures(
    None, frozenset({"squashfs", "nls_iso8859_1"}), frozenset({"overlay", "loop", "isofs"}), {"fs_iso9660": "isofs"}
)


@in_sandbox
def test_unknown_drivers_are_refused(maker: Root) -> None:
    """dracut omits a driver that the kernel does not have, and the medium would hang."""
    settings = InitramfsSettings(modules=["dmsquash-live"], drivers=["squashfs", "iso9660", "loop", "=drivers/ata"])
    assert made(maker, settings, ABLE).drivers == {"squashfs"}
    unknown = settings.model_copy(update={"drivers": ["squashfs", "ahci", "over-lay"]})
    with pytest.raises(StagewrightError, match="does not have ahci, over-lay") as caught:
        made(maker, unknown, ABLE)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS
    assert "did you mean overlay?" in caught.value.hint
    lost = settings.model_copy(update={"drivers": ["squashfs", "nls_iso8859-1"]})
    with pytest.raises(StagewrightError, match=r"dracut omitted drivers .* nls_iso8859_1") as caught:
        made(maker, lost, ABLE)
    assert caught.value.reason is Reason.BUILD_FAILED


def test_names_of_drivers_are_read_as_modprobe_reads_them(tmp_path: Path) -> None:
    folder = "usr/lib/modules/6.1"
    files = {
        f"{folder}/kernel/fs/nls/nls_iso8859-1.ko.xz": "",
        f"{folder}/extra/zfs.ko": "",
        f"{folder}/modules.builtin": "kernel/fs/isofs/isofs.ko\n",
        f"{folder}/modules.builtin.modinfo": "isofs.alias=fs-iso9660\0isofs.license=GPL\0",
        f"{folder}/modules.alias": "# x\nalias spl-two zfs\nalias pci:v*d* zfs\nalias broken\nalias gone missing\n",
    }
    root = make_root(tmp_path, files)
    (root.path / "lib").symlink_to("usr/lib")
    features = read_features(root, "6.1")
    found = {name: features.module_of(name) for name in ("nls-iso8859_1", "zfs", "spl_two", "iso9660", "isofs", "gone")}
    assert found == {
        "nls-iso8859_1": "nls_iso8859_1",
        "zfs": "zfs",
        "spl_two": "zfs",
        "iso9660": "isofs",
        "isofs": "isofs",
        "gone": None,
    }


@in_sandbox
def test_a_failing_dracut_is_explained(maker: Root) -> None:
    with pytest.raises(StagewrightError) as caught:
        made(maker, InitramfsSettings(), KernelFeatures(None, frozenset(), frozenset()), FAIL="1")
    assert caught.value.reason is Reason.BUILD_FAILED
    assert "'dm'" in caught.value.detail
    (maker.path / "usr/bin/dracut").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        made(maker, InitramfsSettings(), KernelFeatures(None, frozenset(), frozenset()))
    assert caught.value.reason is Reason.COMMAND_FAILED
