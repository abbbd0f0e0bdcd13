"""Which file goes where on an ISO: from settings, a payload and a squashfs to boot menu and files.

The paths boot/gentoo, boot/gentoo.igz, image.squashfs and boot/grub/grub.cfg are the same with every boot loader.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.media.arguments import BootMode, InitramfsKind, KernelArguments
from stagewright.media.efi import EfiArch
from stagewright.media.iso import GENKERNEL_SUMS, SUMS, BiosBoot, IsoContents
from stagewright.media.loaders import BOOT_MBR, ELTORITO, BootMenu, Loader, MenuEntry, menus_for_other_programs
from stagewright.media.payload import IMAGE, LOADERS, MEMTEST, BootKernel, Payload
from stagewright.media.settings import IsoSettings
from stagewright.media.uki import UkiParts, make_uki
from stagewright.root.sourced import titled_os_release
from stagewright.trees import files_below

THEME = "boot/grub/theme"
MEMTEST_FOLDER = "boot/memtest"


@dataclass(frozen=True)
class MediumParts:
    """The parts that one build puts on a medium.

    ``folder`` is the folder of the payload, ``sha512`` the digest of the squashfs or "" if it is not known yet,
    ``theme`` the folder of a GRUB theme. ``verity`` is the `BLOCKS:HASH` of the squashfs, or "" if it is not verified.
    ``size`` is that of the squashfs in bytes, or 0 if it is unknown.
    ``os_release`` are identifiers of the live root, as in os-release(5).
    """

    payload: Payload
    folder: Path
    squashfs: Path
    sha512: str = ""
    theme: Path | None = None
    verity: str = ""
    size: int = 0
    os_release: Mapping[str, str] = field(default_factory=dict)


def unsupported(
    payload: Payload,
    compression: str,
    arguments: KernelArguments,
    *,
    modes: Sequence[BootMode] = (),
    memtest: bool = False,
) -> tuple[str, str] | None:
    """Return why a payload does not support these settings, as the rest of "the payload ..." and a hint.

    Returns None if it does. This is checked at build time because the medium would not boot.
    """
    verifies = arguments.verify or BootMode.VERIFY in modes
    persistent = arguments.persistence is not None or BootMode.PERSISTENCE in modes
    for kernel in payload.kernels:
        if kernel.compressions is not None and compression not in kernel.compressions:
            supported = ", ".join(kernel.compressions)
            return (
                f"has a kernel that cannot read squashfs packed with {compression}",
                f"set `compression` to one of: {supported}",
            )
        if verifies and not kernel.verifies:
            dracut = kernel.by is InitramfsKind.DRACUT
            hint = "install checkisomd5 (isomd5sum) in its environment" if dracut else 'add "--b2sum" for genkernel'
            return "has an initramfs that cannot check a medium", hint
        if persistent and kernel.by is not InitramfsKind.DRACUT:
            return "has an initramfs by genkernel, which cannot keep changes", "remove persistence, or use dracut"
        if arguments.keymap and not kernel.keymaps:
            hint = (
                "add i18n to its initramfs.modules, and remove it from initramfs.omit; with systemd, it needs"
                " systemd-vconsole-setup, which Debian does not have: there, omit systemd"
            )
            return "has an initramfs that cannot set a keymap", hint
    if found := payload.without_reboot(arguments.extra):
        return found
    if memtest and not payload.memtest:
        return "does not contain memtest86+", "set `memtest = true` in the payload"
    return None


def menu_entries(
    settings: IsoSettings, payload: Payload, title: str, volume_id: str, verity: str = "", size: int = 0
) -> list[MenuEntry]:
    """Return the entries of the boot menu: for each kernel the system, its other modes, its other consoles.

    ``verity`` and ``size`` describe the image, as in :class:`MediumParts`.
    """
    found: list[MenuEntry] = []
    plain = settings.kernel_arguments
    for number, kernel in enumerate(payload.kernels):
        name = "live" if number == 0 else kernel.name
        titled = title if number == 0 else f"{title} ({kernel.name})"
        variants = [(name, titled, plain)]
        for mode in settings.entries:
            variants.append((f"{name}-{mode}", f"{titled}, {mode.description}", mode.of(plain)))
        for console in settings.consoles:
            device = console.partition(",")[0]
            variants.append((f"{name}-{device}", f"{titled}, on {device}", plain.with_main_console(console)))
        found += [_entry(*variant, kernel, volume_id, verity, size) for variant in variants]
    return found


def _entry(
    name: str, title: str, settings: KernelArguments, kernel: BootKernel, volume_id: str, verity: str, size: int
) -> MenuEntry:
    found = kernel.by.for_medium(settings, volume_id, IMAGE, kernel.dracut)
    words = " ".join([found, *kernel.by.about_image(verity, size)])
    return MenuEntry(name, title, words, kernel.kernel, kernel.initramfs)


def boot_menu(settings: IsoSettings, parts: MediumParts, title: str, volume_id: str) -> BootMenu:
    """Return the boot menu of a medium with this title and volume id."""
    fonts = sorted(path.name for path in parts.theme.glob("*.pf2")) if parts.theme else []
    return BootMenu(
        title=title,
        entries=menu_entries(settings, parts.payload, title, volume_id, parts.verity, parts.size),
        timeout=settings.timeout,
        volume_id=volume_id,
        serial=settings.serial,
        memtest=MEMTEST_FOLDER if settings.memtest else "",
        theme=THEME if parts.theme else "",
        fonts=["unicode.pf2", *fonts] if parts.theme else [],
    )


def iso_contents(settings: IsoSettings, menu: BootMenu, parts: MediumParts, work: Path, epoch: int) -> IsoContents:
    """Return the files of an ISO. Generated files are written into ``work``.

    Raises ``ENVIRONMENT_LACKS`` if the payload does not contain the boot loader.
    """
    loader, payload, folder = settings.loader, parts.payload, parts.folder
    programs = folder / LOADERS / loader
    if not programs.is_dir():
        message = f"the payload does not contain {loader}"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=f'add "{loader}" to its `loaders`')
    kernels = {path: folder / path for kernel in payload.kernels for path in (kernel.kernel, kernel.initramfs)}
    written = _write(loader.configuration(menu), work, epoch)
    memtest = {f"{MEMTEST_FOLDER}/{path.name}": path for path in _files(folder / MEMTEST)} if settings.memtest else {}
    readable = menu if loader.reads_iso else replace(menu, memtest="")
    menus = _write(menus_for_other_programs(readable), work, epoch)
    files = {**kernels, **menus, IMAGE: parts.squashfs, **(memtest if loader.reads_iso else {})}
    efi: dict[str, Path] = {}
    bios = None
    program = EfiArch.of(Arch(payload.arch)).program
    if loader.is_efi:
        efi[f"EFI/BOOT/{program}"] = programs / program
    match loader:
        case Loader.SYSTEMD_BOOT:
            efi |= {**written, **kernels, **memtest}
        case Loader.UKI:
            efi[f"EFI/BOOT/{program}"] = _unified(menu, parts, work, epoch)
        case Loader.GRUB | Loader.GRUB_HYBRID:
            efi |= written
            files |= {**efi, **_theme_files(parts.theme, programs)}  # on a disc GRUB reads the ISO file system
            if loader is Loader.GRUB_HYBRID:
                files[f"boot/grub/{ELTORITO}"] = programs / ELTORITO
                bios = BiosBoot.grub(f"boot/grub/{ELTORITO}", programs / BOOT_MBR)
        case Loader.ISOLINUX:
            files |= {
                **written,
                **{f"isolinux/{path.name}": path for path in _files(programs) if path.suffix != ".img"},
            }
            bios = BiosBoot.isolinux("isolinux/isolinux.bin", programs / BOOT_MBR)
    known = {**payload.sha512, IMAGE: parts.sha512}
    return IsoContents(menu.volume_id, files, efi, bios, settings.esp_size, _sums(settings, payload), known)


def _sums(settings: IsoSettings, payload: Payload) -> dict[str, str]:
    """Return the digest files to write on the medium, with their algorithms."""
    genkernel = any(kernel.by is InitramfsKind.GENKERNEL for kernel in payload.kernels)
    sums = {SUMS: "sha512"} if settings.checksums else {}
    return sums | ({GENKERNEL_SUMS: "blake2b"} if settings.verifies and genkernel else {})


def _unified(menu: BootMenu, parts: MediumParts, work: Path, epoch: int) -> Path:
    """Make a unified kernel image of the first kernel."""
    kernel, efi = parts.payload.kernels[0], EfiArch.of(Arch(parts.payload.arch))
    unified = UkiParts(
        stub=parts.folder / LOADERS / Loader.UKI / efi.stub,
        kernel=parts.folder / kernel.kernel,
        initramfs=parts.folder / kernel.initramfs,
        arguments=menu.entries[0].arguments,
        os_release=titled_os_release(menu.title, parts.os_release),
        version=kernel.version,
    )
    target = work / efi.program
    make_uki(unified, target, epoch)
    return target


def _theme_files(theme: Path | None, programs: Path) -> dict[str, Path]:
    """Return the files of a GRUB theme and the font for texts whose font the theme does not contain.

    Raises ``BUILD_FAILED`` if the folder is not a theme, ``ENVIRONMENT_LACKS`` if the payload has no font.
    """
    if theme is None:
        return {}
    if not (theme / "theme.txt").is_file():
        message = f"the folder {theme.name!r} is not a theme for GRUB (no theme.txt)"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="see GRUB's manual, Theme file format")
    if not (programs / "unicode.pf2").is_file():
        message = "the payload's environment has no font for GRUB's menu (unicode.pf2)"
        hint = "install grub-common, or sys-boot/grub[fonts], there"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)
    found = {f"{THEME}/unicode.pf2": programs / "unicode.pf2"}
    for path in _files(theme):
        found[f"{THEME}/{path.relative_to(theme)}"] = path
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / name for name in files_below(folder)) if path.is_file())


def _write(texts: Mapping[str, str], folder: Path, epoch: int) -> dict[str, Path]:
    """Write generated files into a folder. Return them by their path on the medium."""
    written = {}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (epoch, epoch))
        written[name] = path
    return written
