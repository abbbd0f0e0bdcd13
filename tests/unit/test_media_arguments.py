"""Kernel arguments: the same settings for each initramfs and in the files of every boot loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stagewright.media.arguments import BootMode, InitramfsKind, KernelArguments
from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.iso import GENKERNEL_SUMS, SUMS
from stagewright.media.layout import MediumParts, boot_menu, iso_contents, menu_entries, unsupported
from stagewright.media.loaders import BOOT_MBR, ELTORITO, BootMenu, Loader, MenuEntry, grub_words
from stagewright.media.menus import problems_of, read_menu
from stagewright.media.payload import BootKernel, Payload, kernel_paths
from stagewright.media.settings import IsoSettings

DRACUT, GENKERNEL = InitramfsKind.DRACUT, InitramfsKind.GENKERNEL


def words(kind: InitramfsKind, **settings: Any) -> list[str]:
    return kind.for_medium(KernelArguments(**settings), "LIVE", "image.squashfs").split()


def test_dracut_finds_the_medium_by_its_volume_id() -> None:
    assert words(DRACUT)[:4] == [
        "root=live:CDLABEL=LIVE",
        "rd.live.dir=/",
        "rd.live.squashimg=image.squashfs",
        "rd.live.overlay.overlayfs=1",
    ]
    assert not [word for word in words(DRACUT) if word.startswith(("cdroot", "loop"))]


@pytest.mark.parametrize(
    ("settings", "version", "expected"),
    [
        ({}, 106, ["rd.live.overlay.overlayfs=1"]),
        ({}, 110, ["rd.overlay"]),
        ({"persistence": "DATA"}, 109, ["rd.live.overlay.overlayfs=1", "rd.live.overlay=LABEL=DATA:/overlay"]),
        ({"persistence": "DATA"}, 111, ["rd.overlay=LABEL=DATA:/overlay"]),
        ({"overlay": False}, 111, []),
    ],
)
def test_newer_versions_of_dracut_get_its_newer_names(
    settings: dict[str, Any], version: int, expected: list[str]
) -> None:
    found = DRACUT.for_medium(KernelArguments(**settings), "LIVE", "image.squashfs", version).split()
    assert [word for word in found if "overlay" in word] == expected
    by_network = DRACUT.for_network(KernelArguments(**settings), version)
    assert [word for word in by_network if "overlay" in word] == expected


def test_spaces_of_a_volume_id_are_written_as_udev_writes_them() -> None:
    line = DRACUT.for_medium(KernelArguments(), "Gentoo amd64 1", "image.squashfs")
    assert line.split()[0] == r"root=live:CDLABEL=Gentoo\x20amd64\x201"
    found = FoundEntry("x", "y", "boot/gentoo", ("boot/gentoo.igz",), line)
    files = ["boot/gentoo", "boot/gentoo.igz", "image.squashfs"]
    assert problems_of(found, "Gentoo amd64 1", files) == []
    assert problems_of(found, "Gentoo-amd64-1", files) == ["root= has another volume id than the medium"]
    quoted = replace(found, arguments=line.replace(line.split()[0], 'root="live:CDLABEL=Gentoo amd64 1"'))
    assert problems_of(quoted, "Gentoo amd64 1", files) == []


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (r"root=live:CDLABEL=A\x20B quiet", r"root=live:CDLABEL=A\\x20B quiet"),
        ("a=1;b c='d'$e", r"a=1\;b c=\'d\'\$e"),
        ('dyndbg="file a +p" x', r"dyndbg=file\ a\ +p x"),
    ],
)
def test_arguments_are_the_same_in_grubs_language(arguments: str, written: str) -> None:
    assert grub_words(arguments) == written
    (entry,) = read_menu("grub.cfg", f"menuentry x {{ linux /k {written}; initrd /i }}")
    assert entry.arguments == arguments.replace('"', "")


def test_genkernel_gets_its_arguments_and_a_root() -> None:
    found = words(GENKERNEL, ram=True, verify=True, keymap="uk")
    assert {"root=/dev/ram0", "cdroot", "looptype=squashfs", "loop=/image.squashfs"} <= set(found)
    assert {"overlayfs", "docache", "verify", "keymap=uk"} <= set(found)
    assert not [word for word in found if word.startswith("rd.")]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"ram": True}, "rd.live.ram=1"),
        ({"verify": True}, "rd.live.check=1"),
        ({"persistence": "DATA"}, "rd.live.overlay=LABEL=DATA:/overlay"),
        ({"keymap": "uk"}, "rd.vconsole.keymap=uk"),
        ({"quiet": True}, "quiet"),
        ({"console": ["ttyS1,9600"]}, "console=ttyS1,9600"),
        ({"extra": ["net.ifnames=0"]}, "net.ifnames=0"),
    ],
)
def test_each_setting_adds_its_argument(settings: dict[str, Any], word: str) -> None:
    assert word in words(DRACUT, **settings)
    assert word not in words(DRACUT)


@pytest.mark.parametrize("word", ["root=/dev/sda1", "initrd=/x", "setkmap=uk"])
def test_reserved_arguments_are_refused(word: str) -> None:
    with pytest.raises(ValidationError):
        KernelArguments(extra=[word])


def test_the_main_console_is_the_last_one_and_listed_once() -> None:
    arguments = KernelArguments(console=["ttyS0,9600", "tty0"]).with_main_console("ttyS0,115200")
    assert arguments.console == ["tty0", "ttyS0,115200"]


def kernel(name: str = "gentoo", by: InitramfsKind = DRACUT, **more: Any) -> BootKernel:
    path, initramfs = kernel_paths(name, first=name == "gentoo")
    facts = {"verifies": True, "network": (), "keymaps": True, **more}
    return BootKernel(name, "6.1", path, initramfs, by, **facts)


def settings_of(loader: Loader = Loader.SYSTEMD_BOOT, **more: Any) -> IsoSettings:
    return IsoSettings(loader=loader, **more)


def entries_of(settings: IsoSettings, payload: Payload) -> list[MenuEntry]:
    return menu_entries(settings, payload, "T 1", "LIVE")


def menu_of(settings: IsoSettings, payload: Payload) -> BootMenu:
    return boot_menu(settings, MediumParts(payload, Path(), Path()), "T 1", "LIVE")


def test_a_payload_is_read_as_written(tmp_path: Path) -> None:
    payload = Payload("amd64", (kernel(compressions=("zstd",)), kernel("old", GENKERNEL)), firmware=("a/b.bin",))
    payload.write(tmp_path)
    assert Payload.read(tmp_path) == payload


def test_each_kernel_has_entries_with_arguments_for_its_initramfs() -> None:
    payload = Payload("amd64", (kernel(), kernel("old", GENKERNEL)))
    entries = entries_of(settings_of(entries=[BootMode.RAM], consoles=["ttyS0,115200"]), payload)
    assert [entry.id for entry in entries] == ["live", "live-ram", "live-ttyS0", "old", "old-ram", "old-ttyS0"]
    assert [entry.kernel for entry in entries] == ["boot/gentoo"] * 3 + ["boot/old"] * 3
    assert "rd.live.ram=1" in entries[1].arguments
    assert "docache" in entries[4].arguments
    assert entries[5].arguments.endswith("console=tty0 console=ttyS0,115200")
    assert len({entry.title for entry in entries}) == 6


def test_a_medium_can_start_another_kernel_by_default() -> None:
    payload = Payload("amd64", (kernel(), kernel("new"), kernel("old")))
    entries = entries_of(settings_of(), payload.with_first("old"))
    assert [entry.id for entry in entries] == ["live", "gentoo", "new"]
    assert [entry.kernel for entry in entries] == ["boot/old", "boot/gentoo", "boot/new"]
    assert payload.with_first(None) == payload


@pytest.mark.parametrize("loader", [Loader.SYSTEMD_BOOT, Loader.GRUB, Loader.GRUB_HYBRID, Loader.ISOLINUX])
def test_all_loaders_have_the_same_entries(loader: Loader) -> None:
    """The menu read from each loader's files equals the menu that they were made from."""
    settings = settings_of(loader, entries=list(BootMode), memtest=True)
    payload = Payload("amd64", (kernel(), kernel("old", GENKERNEL)), memtest=True)
    wanted = {(e.title, e.kernel, e.initramfs, e.arguments) for e in entries_of(settings, payload)}
    texts = loader.configuration(menu_of(settings, payload))
    menus = [read_menu(path, text) for path, text in texts.items()]
    if loader is Loader.SYSTEMD_BOOT:
        menus = [[line for menu in menus for line in menu]]
    for menu in menus:
        assert {(e.title, e.kernel, e.initramfs, e.arguments) for e in menu if e.initramfs} == wanted
    assert any("memtest" in text for text in texts.values())
    on_medium = {path for one in payload.kernels for path in (one.kernel, one.initramfs)} | {"image.squashfs"}
    assert not [trap for menu in menus for line in menu for trap in problems_of(line, "LIVE", on_medium)]


@pytest.mark.parametrize(
    ("more", "facts"),
    [
        ({"modes": (BootMode.VERIFY,)}, {"verifies": False}),
        ({"modes": (BootMode.PERSISTENCE,)}, {"by": GENKERNEL}),
        ({"arguments": KernelArguments(keymap="uk")}, {"keymaps": False}),
        ({"memtest": True}, {}),
        ({"arguments": KernelArguments(extra=["rd.emergency=reboot"])}, {"reboots": False}),
        ({}, {"compressions": ("gzip", "xz")}),
    ],
)
def test_settings_that_a_payload_does_not_support_are_reported(more: dict[str, Any], facts: dict[str, Any]) -> None:
    payload = Payload("amd64", (kernel(**facts),))
    unfit = unsupported(payload, "zstd", **{"arguments": KernelArguments(), **more})
    assert unfit and all(unfit)
    assert unsupported(Payload("amd64", (kernel(),)), "zstd", KernelArguments()) is None


def ready(folder: Path, *loaders: Loader, names: tuple[str, ...] = ("gentoo",)) -> Payload:
    """A payload's folder with stand-ins for all files."""
    payload = Payload("amd64", tuple(kernel(name) for name in names), memtest=True)
    files = [path for one in payload.kernels for path in (one.kernel, one.initramfs)]
    files += [f"memtest/memtest.{kind}" for kind in ("efi", "bin")]
    for loader in loaders:
        own = {Loader.ISOLINUX: ["isolinux.bin", "ldlinux.c32", BOOT_MBR], Loader.GRUB_HYBRID: [ELTORITO, BOOT_MBR]}
        files += [f"loaders/{loader}/{name}" for name in own.get(loader, [])]
        files += [f"loaders/{loader}/BOOTX64.EFI"] if loader.is_efi else []
    for name in [*files, "image.squashfs"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    return payload


@pytest.mark.parametrize("loader", [loader for loader in Loader if loader is not Loader.UKI])
def test_public_paths_are_the_same_with_every_loader(tmp_path: Path, loader: Loader) -> None:
    payload = ready(tmp_path / "payload", loader, names=("gentoo", "old"))
    folder, work = tmp_path / "payload", tmp_path / "work"
    settings, parts = settings_of(loader, memtest=True), MediumParts(payload, folder, folder / "image.squashfs")
    image = iso_contents(settings, boot_menu(settings, parts, "T 1", "LIVE"), parts, work, 0)
    assert {"boot/gentoo", "boot/gentoo.igz", "boot/old", "boot/old.igz", "image.squashfs"} <= set(image.files)
    assert bool(image.efi_files) is loader.is_efi
    assert bool(image.bios) is loader.is_bios
    assert set(image.sums) == {SUMS}
    reached = image.files if loader.reads_iso else image.efi_files
    assert "boot/memtest/memtest.efi" in reached
    assert GENKERNEL_SUMS not in image.sums


@pytest.mark.parametrize(
    ("arguments", "volume", "words"),
    [
        ("quiet", "LIVE", "no root="),
        ("root=live:CDLABEL=OTHER", "LIVE", "another volume id"),
        ("root=live:/image.squashfs", "LIVE", "ends in .img"),
        ("root=/dev/ram0 cdroot", "LIVE", "looptype"),
        ("root=live:CDLABEL=LIVE setkmap=uk", "LIVE", "setkmap"),
        ("root=live:CDLABEL=LIVE rd.live.squashimg=gone.squashfs", "LIVE", "gone.squashfs is not on"),
    ],
)
def test_known_problems_are_reported(arguments: str, volume: str, words: str) -> None:
    line = FoundEntry("grub.cfg", "T", "k", ("i",), arguments)
    assert [trap for trap in problems_of(line, volume, {"k", "i"}) if words in trap]


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("arch/boot/x86_64/vmlinuz-linux", "archisobasedir=arch archisosearchuuid=2026"),
        ("live/vmlinuz", "boot=live components"),
        ("casper/vmlinuz", "--- quiet"),
    ],
)
def test_other_live_systems_are_not_measured_by_dracuts_arguments(kernel: str, arguments: str) -> None:
    entry = FoundEntry("boot/grub/grub.cfg", "T", kernel, ("i",), arguments)
    assert problems_of(entry, "LIVE", {kernel, "i"}) == []
    assert problems_of(entry, "LIVE", {kernel}) == ["i is not on the medium"]


def test_menus_of_other_projects_are_read() -> None:
    """Catalyst's grub.cfg, and a PXELINUX menu from a manual."""
    grub = """
set default=0
menuentry 'Boot LiveCD (kernel: gentoo)' --class gnu-linux --class os {
\tlinux /boot/gentoo dokeymap root=live:CDLABEL=Gentoo-amd64-2026 rd.live.dir=/ rd.live.squashimg=image.squashfs cdroot
\tinitrd /boot/gentoo.igz
}
"""
    (line,) = read_menu("boot/grub/grub.cfg", grub)
    assert (line.kernel, line.initramfs) == ("boot/gentoo", "boot/gentoo.igz")
    assert not problems_of(line, "Gentoo-amd64-2026", {"boot/gentoo", "boot/gentoo.igz", "image.squashfs"})
    arguments = "dokeymap looptype=squashfs loop=/image.squashfs cdroot"
    pxe = f"LABEL gentoo\n  KERNEL gentoo\n  APPEND initrd=combined.igz {arguments}\n"
    (line,) = read_menu("pxelinux.cfg/default", pxe)
    assert (line.title, line.initramfs) == ("gentoo", "combined.igz")
    assert [trap for trap in problems_of(line, "", {"gentoo", "combined.igz", "image.squashfs"}) if "no root=" in trap]


def test_speech_is_an_argument_for_the_system() -> None:
    """livecd-tools start espeakup, as in the third line of Catalyst's menu."""
    entries = entries_of(settings_of(entries=[BootMode.RAM, BootMode.SPEECH]), Payload("amd64", (kernel(),)))
    assert [("dospeakup" in entry.arguments.split(), "rd.live.ram=1" in entry.arguments) for entry in entries] == [
        (False, False),
        (False, True),
        (True, False),
    ]
