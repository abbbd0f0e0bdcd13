"""Boot loaders: their programs in an environment (R26), and the files that configure them, from one menu (R61, R68).

A payload carries the programs; the stages that make media write the configuration by the templates beside this module.
To add one: a member of :class:`Loader`, its parts, its templates.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.kernel.find import copy_out
from stagewright.media.efi import EfiArch
from stagewright.media.render import render
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root

ELTORITO, BOOT_MBR = "eltorito.img", "boot_mbr.img"
"""What BIOS starts from a disc, and what it starts from a stick with the same image."""

_GRUB_MODULES = (
    "boot configfile echo fat font gfxmenu gfxterm gzio halt iso9660 linux loadenv loopback ls minicmd normal part_gpt "
    "part_msdos png probe reboot search search_fs_file search_fs_uuid search_label serial sleep terminal test true"
)
_GRUB_EFI_MODULES = "all_video chain efi_gop"
_GRUB_BIOS_MODULES = "biosdisk linux16 vbe vga"
_GRUB_EARLY = "configfile $cmdpath/grub.cfg\n"
_SYSTEMD_EFI = "/usr/lib/systemd/boot/efi"
_ISOLINUX = ("/usr/lib/ISOLINUX", "/usr/share/syslinux")
_SYSLINUX = ("/usr/lib/syslinux/modules/bios", "/usr/share/syslinux")
_SYSLINUX_MODULES = ("ldlinux.c32", "libcom32.c32", "libutil.c32", "menu.c32")


@dataclass(frozen=True)
class Entry:
    """One line of a boot menu; ``kernel`` and ``initramfs`` are paths on the medium."""

    id: str
    title: str
    arguments: str
    kernel: str
    initramfs: str


@dataclass(frozen=True)
class Menu:
    """A boot menu, whichever loader shows it.

    ``timeout`` is in seconds. ``memtest`` and ``theme`` are paths on the medium, of memtest86+'s folder and of a GRUB
    theme's; ``fonts`` are files of that folder.
    """

    entries: Sequence[Entry]
    timeout: int
    volume_id: str
    serial: bool = False
    memtest: str = ""
    theme: str = ""
    fonts: Sequence[str] = ()


class Loader(enum.StrEnum):
    """The boot loaders for media."""

    SYSTEMD_BOOT = "systemd-boot"
    GRUB = "grub"
    GRUB_HYBRID = "grub-hybrid"
    ISOLINUX = "isolinux"
    UKI = "uki"

    @property
    def is_efi(self) -> bool:
        """Whether UEFI starts it."""
        return self is not Loader.ISOLINUX

    @property
    def is_bios(self) -> bool:
        """Whether BIOS starts it."""
        return self in (Loader.GRUB_HYBRID, Loader.ISOLINUX)

    @property
    def is_grub(self) -> bool:
        """Whether it is GRUB, which finds kernel and initramfs on the ISO and knows themes."""
        return self in (Loader.GRUB, Loader.GRUB_HYBRID)

    @property
    def reads_iso(self) -> bool:
        """Whether it finds kernel and initramfs on the ISO; systemd-boot reads nothing but its own partition."""
        return self.is_grub or self is Loader.ISOLINUX

    @property
    def has_menu(self) -> bool:
        """Whether it offers more than one way to start."""
        return self is not Loader.UKI

    @property
    def checks_kernels(self) -> bool:
        """Whether Secure Boot reaches the kernel with keys of one's own: GRUB asks shim, which has others."""
        return self in (Loader.SYSTEMD_BOOT, Loader.UKI)

    def missing(self, root: Root, efi: EfiArch) -> Iterator[MissingRequirement]:
        """What of it is missing in an environment."""
        if self.is_bios and efi.is_arm:
            yield MissingRequirement(f"{self} starts under BIOS, which arm64 has not", "use systemd-boot or grub")
        elif self.is_grub:
            yield from _grub_lacks(self, root, efi)
        else:
            for name in self._files(efi):
                if not _place_of(root, name):
                    hint = "install isolinux and syslinux-common" if self is Loader.ISOLINUX else _SYSTEMD_HINT
                    yield MissingRequirement(f"the environment has no {self} ({name})", hint)

    def _files(self, efi: EfiArch) -> tuple[str, ...]:
        """Its files, by their name in packages."""
        return {
            Loader.SYSTEMD_BOOT: (f"systemd-boot{efi.short}.efi",),
            Loader.UKI: (f"linux{efi.short}.efi.stub",),
            Loader.ISOLINUX: ("isolinux.bin", "isohdpfx.bin", *_SYSLINUX_MODULES),
        }[self]

    def take(self, root: Root, efi: EfiArch, target: Path, inside: str) -> None:
        """Put its programs into ``target``, which the root sees as ``inside``. The environment has been checked."""
        if self.is_grub:
            _make_grub(root, efi.grub, _GRUB_EFI_MODULES, target, inside, efi.program)
            if self is Loader.GRUB_HYBRID:
                _make_grub(root, "i386-pc-eltorito", _GRUB_BIOS_MODULES, target, inside, ELTORITO)
                copy_out(root, f"{_grub_folder('i386-pc')}/boot_hybrid.img", target / BOOT_MBR)
            font = next((path for path in _GRUB_FONTS if files.exists(root.path, path)), None)
            if font:
                copy_out(root, font, target / "unicode.pf2")
            return
        names = {"isohdpfx.bin": BOOT_MBR, f"systemd-boot{efi.short}.efi": efi.program}
        for name in self._files(efi):
            place = _place_of(root, name)
            assert place, "the environment was checked"
            copy_out(root, place, target / names.get(name, name))

    def configuration(self, menu: Menu) -> dict[str, str]:
        """Its files, by their path on the EFI system partition, or on the ISO for those that read it."""
        if self.is_grub:
            text = _render("grub.cfg", menu)
            return {"EFI/BOOT/grub.cfg": text, **({"boot/grub/grub.cfg": text} if self is Loader.GRUB_HYBRID else {})}
        if self is Loader.ISOLINUX:
            return {"isolinux/isolinux.cfg": _render("isolinux.cfg", menu)}
        if self is Loader.UKI:
            return {}
        entries = {f"loader/entries/{entry.id}.conf": _render("entry.conf", menu, entry) for entry in menu.entries}
        memtest = {"loader/entries/memtest.conf": _render("memtest.conf", menu)} if menu.memtest else {}
        return {"loader/loader.conf": _render("loader.conf", menu), **entries, **memtest}


_SYSTEMD_HINT = "install systemd-boot-efi on Debian, sys-apps/systemd[boot] on Gentoo"
_GRUB_FONTS = ("/usr/share/grub/unicode.pf2", "/boot/grub/fonts/unicode.pf2")


def _grub_folder(platform: str) -> str:
    return f"/usr/lib/grub/{platform.removesuffix('-eltorito')}"


def grub_mkimage(root: Root) -> str | None:
    """What an environment calls the program that links GRUB's modules."""
    return next((name for name in ("grub-mkimage", "grub2-mkimage") if has_program(root, name)), None)


def _grub_lacks(loader: Loader, root: Root, efi: EfiArch) -> Iterator[MissingRequirement]:
    platforms = [efi.grub, *(["i386-pc"] if loader is Loader.GRUB_HYBRID else [])]
    missing = [_grub_folder(name) for name in platforms if not files.exists(root.path, _grub_folder(name))]
    missing += [] if grub_mkimage(root) else ["grub-mkimage"]
    if missing:
        pc = loader is Loader.GRUB_HYBRID
        debian = ["grub-common", f"grub-efi-{efi.debian}-bin", *(["grub-pc-bin"] if pc else [])]
        gentoo = f"sys-boot/grub[grub_platforms_efi-{efi.bits}{',grub_platforms_pc' if pc else ''}]"
        hint = f"install {', '.join(debian)}; or {gentoo}"
        yield MissingRequirement(f"the environment has no {loader} ({', '.join(missing)})", hint)


def _make_grub(root: Root, platform: str, modules: str, target: Path, inside: str, name: str) -> None:
    """Link GRUB's modules by grub-mkimage: grub-mkstandalone and grub-mkrescue give other bytes each time.

    What BIOS starts finds boot/grub on what it was started from by itself; under UEFI it is told to look beside itself.
    """
    program = grub_mkimage(root)
    assert program, "the environment was checked"
    bios = platform.startswith("i386-pc")
    words = [program, f"--format={platform}", f"--prefix={'/boot/grub' if bios else '/EFI/BOOT'}"]
    early = target / "early.cfg"
    if not bios:
        early.write_text(_GRUB_EARLY, encoding="utf-8")
        words.append(f"--config={inside}/early.cfg")
    root.run(*words, f"--output={inside}/{name}", *modules.split(), *_GRUB_MODULES.split())
    early.unlink(missing_ok=True)


def _place_of(root: Root, name: str) -> str | None:
    folders = (_SYSTEMD_EFI, *_ISOLINUX, *_SYSLINUX)
    return next((f"{folder}/{name}" for folder in folders if files.exists(root.path, f"{folder}/{name}")), None)


def _render(template: str, menu: Menu, entry: Entry | None = None) -> str:
    return render("stagewright.media", template, menu=menu, entry=entry)
