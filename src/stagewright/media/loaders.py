"""Boot loaders: their programs in an environment, and their configuration files, made from one boot menu.

A payload contains the programs. The stages that make media write the configuration with the files in ``templates/``.
To add a loader, add a member of :class:`Loader`, its programs and its templates.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.kernel.find import copy_out
from stagewright.lazy_dataclass import dataclass
from stagewright.media.efi import EfiArch
from stagewright.media.render import render
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement

if TYPE_CHECKING:
    from stagewright.root.root import Root

ELTORITO, BOOT_MBR = "eltorito.img", "boot_mbr.img"
"""Code that BIOS starts from a disc, and code for the first sector, which BIOS starts from a stick."""

BOOT_IMAGE, CORE_IMAGE = "boot.img", "core.img"
"""Code for the first sector of an installed disk, and the code in its BIOS boot partition. The second one reads
grub/grub.cfg of the first partition that has it."""

_GRUB_MODULES = (
    "boot configfile echo fat font gfxmenu gfxterm gzio halt iso9660 linux loadenv loopback ls minicmd normal part_gpt "
    "part_msdos png probe reboot search search_fs_file search_fs_uuid search_label serial sleep terminal test true"
)
_GRUB_EFI_MODULES = "all_video chain efi_gop"
_GRUB_BIOS_MODULES = "biosdisk linux16 vbe vga"
_GRUB_EARLY = "configfile $cmdpath/grub.cfg\n"
_GRUB_DISK_EARLY = "search --no-floppy --file --set=root /grub/grub.cfg\nset prefix=($root)/grub\n"
_SYSTEMD_EFI = "/usr/lib/systemd/boot/efi"
_ISOLINUX = ("/usr/lib/ISOLINUX", "/usr/share/syslinux")
_SYSLINUX = ("/usr/lib/syslinux/modules/bios", "/usr/share/syslinux")
_SYSLINUX_MODULES = ("ldlinux.c32", "libcom32.c32", "libutil.c32", "menu.c32")


@dataclass(frozen=True)
class MenuEntry:
    """One entry of a boot menu; ``kernel`` and ``initramfs`` are paths on the medium."""

    id: str
    title: str
    arguments: str
    kernel: str
    initramfs: str


@dataclass(frozen=True)
class BootMenu:
    """A boot menu as one build resolves it, for any boot loader.

    ``timeout`` is in seconds. ``serial`` is True if the menu is also shown on the first serial port. ``memtest`` and
    ``theme`` are the folders of memtest86+ and of a GRUB theme on the medium, or ""; ``fonts`` are files in the folder
    of the theme.
    """

    title: str
    entries: Sequence[MenuEntry]
    timeout: int
    volume_id: str
    serial: bool = False
    memtest: str = ""
    theme: str = ""
    fonts: Sequence[str] = ()


class Loader(enum.StrEnum):
    """A boot loader for media."""

    SYSTEMD_BOOT = "systemd-boot"
    GRUB = "grub"
    GRUB_HYBRID = "grub-hybrid"
    ISOLINUX = "isolinux"
    UKI = "uki"

    @property
    def is_efi(self) -> bool:
        """True if UEFI starts it."""
        return self is not Loader.ISOLINUX

    @property
    def is_bios(self) -> bool:
        """True if BIOS starts it."""
        return self in (Loader.GRUB_HYBRID, Loader.ISOLINUX)

    @property
    def is_grub(self) -> bool:
        """True if it is GRUB, which supports themes."""
        return self in (Loader.GRUB, Loader.GRUB_HYBRID)

    @property
    def reads_iso(self) -> bool:
        """True if it reads kernel and initramfs from the ISO file system; systemd-boot only reads its partition."""
        return self.is_grub or self is Loader.ISOLINUX

    @property
    def has_menu(self) -> bool:
        """True if it shows a menu with several entries."""
        return self is not Loader.UKI

    @property
    def verifies_kernels(self) -> bool:
        """True if Secure Boot verifies the kernel with the project's keys; GRUB asks shim, which has other keys."""
        return self in (Loader.SYSTEMD_BOOT, Loader.UKI)

    def missing(self, root: Root, efi: EfiArch) -> Iterator[MissingRequirement]:
        """Yield what an environment lacks for this loader."""
        if self.is_bios and efi.is_arm:
            yield MissingRequirement(f"{self} needs BIOS, which arm64 does not have", "use systemd-boot or grub")
        elif self.is_grub:
            yield from _missing_grub(self, root, efi)
        else:
            for name in self._files(efi):
                if not _find(root, name):
                    hint = "install isolinux and syslinux-common" if self is Loader.ISOLINUX else _SYSTEMD_HINT
                    yield MissingRequirement(f"the environment has no {self} ({name})", hint)

    def _files(self, efi: EfiArch) -> tuple[str, ...]:
        """Return the names of its files in packages."""
        return {
            Loader.SYSTEMD_BOOT: (f"systemd-boot{efi.short}.efi",),
            Loader.UKI: (efi.stub,),
            Loader.ISOLINUX: ("isolinux.bin", "isohdpfx.bin", *_SYSLINUX_MODULES),
        }[self]

    def take(self, root: Root, efi: EfiArch, target: Path, inside: str) -> None:
        """Put its programs into ``target``, which is ``inside`` in the root. The caller has checked the environment."""
        if self.is_grub:
            _make_grub(root, efi.grub, _GRUB_EFI_MODULES, target, inside, efi.program)
            if self is Loader.GRUB_HYBRID:
                _make_grub(root, "i386-pc-eltorito", _GRUB_BIOS_MODULES, target, inside, ELTORITO)
                _make_grub(root, "i386-pc", _GRUB_BIOS_MODULES, target, inside, CORE_IMAGE)
                for name, source in ((BOOT_MBR, "boot_hybrid.img"), (BOOT_IMAGE, "boot.img")):
                    copy_out(root, f"{_grub_folder('i386-pc')}/{source}", target / name)
            font = next((path for path in _GRUB_FONTS if files.exists(root.path, path)), None)
            if font:
                copy_out(root, font, target / "unicode.pf2")
            return
        names = {"isohdpfx.bin": BOOT_MBR, f"systemd-boot{efi.short}.efi": efi.program}
        for name in self._files(efi):
            path = _find(root, name)
            assert path, "the environment was checked"
            copy_out(root, path, target / names.get(name, name))

    def origins(self, root: Root, efi: EfiArch) -> list[str]:
        """Return paths of the environment's files that its programs are copied or linked from."""
        if self.is_grub:
            platforms = [efi.grub, *(["i386-pc"] if self is Loader.GRUB_HYBRID else [])]
            found = [f"{_grub_folder(name)}/normal.mod" for name in platforms]
            return [*found, *(path for path in _GRUB_FONTS[:1] if files.exists(root.path, path))]
        return [path for name in self._files(efi) if (path := _find(root, name))]

    def configuration(self, menu: BootMenu) -> dict[str, str]:
        """Return its configuration files, by their path on the EFI system partition or the ISO."""
        if self.is_grub:
            return {"EFI/BOOT/grub.cfg": _render("grub.cfg", menu)}
        if self is Loader.ISOLINUX:
            return {"isolinux/isolinux.cfg": _render("isolinux.cfg", menu)}
        if self is Loader.UKI:
            return {}
        entries = {f"loader/entries/{entry.id}.conf": _render("entry.conf", menu, entry) for entry in menu.entries}
        memtest = {"loader/entries/memtest.conf": _render("memtest.conf", menu)} if menu.memtest else {}
        return {"loader/loader.conf": _render("loader.conf", menu), **entries, **memtest}


def menus_for_other_programs(menu: BootMenu) -> dict[str, str]:
    """Return the menus that every ISO has, whatever its loader, by their path.

    Programs read the kernel arguments of a medium from ``grub.cfg``. GRUB on another medium starts an ISO file by
    ``loopback.cfg`` with the variable ``iso_path``, a convention of GRUB's users. The initramfs finds the file.
    """
    return {GRUB_MENU: _render("grub.cfg", menu), "boot/grub/loopback.cfg": _render("loopback.cfg", menu)}


GRUB_MENU = "boot/grub/grub.cfg"

_NOT_SPECIAL = r"[^A-Za-z0-9_.,:=/+@%-]"


def grub_words(arguments: str) -> str:
    """Return kernel arguments as words of GRUB's language. GRUB itself adds quotes around a word with a space."""
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', arguments)
    return " ".join(re.sub(_NOT_SPECIAL, r"\\\g<0>", word.replace('"', "")) for word in words)


_SYSTEMD_HINT = "install systemd-boot-efi on Debian, sys-apps/systemd[boot] on Gentoo"
_GRUB_FONTS = ("/usr/share/grub/unicode.pf2", "/boot/grub/fonts/unicode.pf2")


def _grub_folder(platform: str) -> str:
    return f"/usr/lib/grub/{platform.removesuffix('-eltorito')}"


def grub_mkimage(root: Root) -> str | None:
    """Return the name of the program that links GRUB's modules, or None if the environment does not have it."""
    return next((name for name in ("grub-mkimage", "grub2-mkimage") if has_program(root, name)), None)


def _missing_grub(loader: Loader, root: Root, efi: EfiArch) -> Iterator[MissingRequirement]:
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
    """Link GRUB's modules with grub-mkimage. The output of grub-mkstandalone and grub-mkrescue is not reproducible.

    GRUB for BIOS finds boot/grub on the medium itself, and grub on an installed disk. GRUB for UEFI reads grub.cfg in
    its own folder ($cmdpath).
    """
    program = grub_mkimage(root)
    assert program, "the environment was checked"
    bios = platform.startswith("i386-pc")
    words = [program, f"--format={platform}", f"--prefix={'/boot/grub' if bios else '/EFI/BOOT'}"]
    early = target / "early.cfg"
    if not platform.endswith("-eltorito"):
        early.write_text(_GRUB_DISK_EARLY if bios else _GRUB_EARLY, encoding="utf-8")
        words.append(f"--config={inside}/early.cfg")
    root.run(*words, f"--output={inside}/{name}", *modules.split(), *_GRUB_MODULES.split())
    early.unlink(missing_ok=True)


def _find(root: Root, name: str) -> str | None:
    folders = (_SYSTEMD_EFI, *_ISOLINUX, *_SYSLINUX)
    return next((f"{folder}/{name}" for folder in folders if files.exists(root.path, f"{folder}/{name}")), None)


def _render(template: str, menu: BootMenu, entry: MenuEntry | None = None) -> str:
    return render("stagewright.media", template, menu=menu, entry=entry, grub_words=grub_words)
