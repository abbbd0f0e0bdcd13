"""What goes where on a medium: from a payload, a squashfs and settings to the files of an ISO and its boot menu.

Old paths stay, whatever the loader: boot/gentoo, boot/gentoo.igz, image.squashfs (R45, R54).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind, KernelArguments, Mode
from stagewright.media.efi import EfiArch
from stagewright.media.iso import GENKERNEL_SUMS, SUMS, Bios, Image
from stagewright.media.loaders import BOOT_MBR, ELTORITO, Entry, Loader, Menu
from stagewright.media.payload import LOADERS, MEMTEST, BootKernel, Payload
from stagewright.media.uki import Parts, make_uki
from stagewright.root.sourced import titled_os_release

IMAGE = "image.squashfs"
"""The squashfs's name on media, a public interface (R45, R54)."""

THEME = "boot/grub/theme"
MEMTEST_FOLDER = "boot/memtest"


@dataclass(frozen=True)
class Settings:
    """What a project says about a medium."""

    loader: Loader
    arguments: KernelArguments
    title: str
    volume_id: str
    modes: tuple[Mode, ...] = ()
    consoles: tuple[str, ...] = ()
    timeout: int = 3
    memtest: bool = False
    checksums: bool = True
    esp: int = 0  # bytes
    theme: Path | None = None

    @property
    def verifies(self) -> bool:
        """Whether the initramfs may be told to check the medium."""
        return self.arguments.verify or Mode.VERIFY in self.modes

    @property
    def keeps(self) -> bool:
        """Whether changes may be kept on a file system."""
        return self.arguments.persistence is not None or Mode.PERSISTENCE in self.modes


@dataclass(frozen=True)
class Squashed:
    """The squashfs, and its sha512 if that is known."""

    path: Path
    sha512: str = ""


def unfit(settings: Settings, payload: Payload, compression: str) -> tuple[str, str] | None:
    """Why these settings do not go with a payload, and what to do: found now, not on a black screen."""
    for kernel in payload.kernels:
        if kernel.compressions is not None and compression not in kernel.compressions:
            read = ", ".join(kernel.compressions)
            return (
                f"has a kernel that reads no squashfs packed by {compression}",
                f"set `compression` to one of: {read}",
            )
        if settings.verifies and not kernel.verifies:
            dracut = kernel.by is InitramfsKind.DRACUT
            remedy = "install checkisomd5 (isomd5sum) in its environment" if dracut else 'add "--b2sum" for genkernel'
            return "has an initramfs that cannot check a medium", remedy
        if settings.keeps and kernel.by is not InitramfsKind.DRACUT:
            return "has an initramfs by genkernel, which keeps no changes", "leave persistence out, or use dracut"
        if settings.arguments.keymap and not kernel.keymaps:
            return "has an initramfs without keymaps", "add i18n to initramfs.modules there, and take it out of omit"
    if settings.memtest and not payload.memtest:
        return "carries no memtest86+", "set `memtest = true` there"
    return None


def entries_of(settings: Settings, payload: Payload) -> list[Entry]:
    """The lines of the boot menu: for each kernel the system as it is, its other modes, its other consoles."""
    found: list[Entry] = []
    for number, kernel in enumerate(payload.kernels):
        name = "live" if number == 0 else kernel.name
        title = settings.title if number == 0 else f"{settings.title} ({kernel.name})"
        found.append(_entry(name, title, settings.arguments, kernel, settings.volume_id))
        for mode in settings.modes:
            arguments = mode.of(settings.arguments)
            found.append(_entry(f"{name}-{mode}", f"{title}, {mode.words}", arguments, kernel, settings.volume_id))
        for console in settings.consoles:
            device = console.partition(",")[0]
            arguments = settings.arguments.leading_to(console)
            found.append(_entry(f"{name}-{device}", f"{title}, on {device}", arguments, kernel, settings.volume_id))
    return found


def _entry(name: str, title: str, arguments: KernelArguments, kernel: BootKernel, volume_id: str) -> Entry:
    words = kernel.by.for_medium(arguments, volume_id, IMAGE)
    return Entry(name, title, words, kernel.kernel, kernel.initramfs)


def menu_of(settings: Settings, payload: Payload) -> Menu:
    """The boot menu."""
    fonts = sorted(path.name for path in settings.theme.glob("*.pf2")) if settings.theme else []
    return Menu(
        entries=entries_of(settings, payload),
        timeout=settings.timeout,
        volume_id=settings.volume_id,
        serial=settings.arguments.serial or any(name.startswith("ttyS") for name in settings.consoles),
        memtest=MEMTEST_FOLDER if settings.memtest else "",
        theme=THEME if settings.theme else "",
        fonts=["unicode.pf2", *fonts] if settings.theme else [],
    )


def image_of(settings: Settings, payload: Payload, folder: Path, squashfs: Squashed, work: Path, epoch: int) -> Image:
    """The files of an ISO, with a payload's ``folder``; what is generated is written into ``work``.

    Raises ``ENVIRONMENT_LACKS`` when the payload does not carry the loader.
    """
    programs = folder / LOADERS / settings.loader
    if not programs.is_dir():
        message = f"the payload carries no {settings.loader}"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=f'add "{settings.loader}" to its `loaders`')
    kernels = {path: folder / path for kernel in payload.kernels for path in (kernel.kernel, kernel.initramfs)}
    written = _write(settings.loader.configuration(menu_of(settings, payload)), work, epoch)
    memtest = {f"{MEMTEST_FOLDER}/{path.name}": path for path in _files(folder / MEMTEST)} if settings.memtest else {}
    files = {**kernels, IMAGE: squashfs.path, **(memtest if settings.loader.reads_iso else {})}
    efi: dict[str, Path] = {}
    bios = None
    program = EfiArch.of(Arch(payload.arch)).program
    if settings.loader.is_efi:
        efi[f"EFI/BOOT/{program}"] = programs / program
    match settings.loader:
        case Loader.SYSTEMD_BOOT:
            efi |= {**written, **kernels, **memtest}
        case Loader.UKI:
            efi[f"EFI/BOOT/{program}"] = _unified(settings, payload, folder, work, epoch)
        case Loader.GRUB | Loader.GRUB_HYBRID:
            efi |= {name: path for name, path in written.items() if name.startswith("EFI/")}
            files |= {**efi, **written, **_theme(settings, programs)}  # on a disc it is read from the ISO file system
            if settings.loader is Loader.GRUB_HYBRID:
                files[f"boot/grub/{ELTORITO}"] = programs / ELTORITO
                bios = Bios.grub(f"boot/grub/{ELTORITO}", programs / BOOT_MBR)
        case Loader.ISOLINUX:
            files |= {
                **written,
                **{f"isolinux/{path.name}": path for path in _files(programs) if path.suffix != ".img"},
            }
            bios = Bios.isolinux("isolinux/isolinux.bin", programs / BOOT_MBR)
    genkernel = any(kernel.by is InitramfsKind.GENKERNEL for kernel in payload.kernels)
    sums = {SUMS: "sha512"} if settings.checksums else {}
    sums |= {GENKERNEL_SUMS: "blake2b"} if settings.verifies and genkernel else {}
    known = {**payload.sha512, IMAGE: squashfs.sha512}
    return Image(settings.volume_id, files, efi, bios, settings.esp, sums, known)


def _unified(settings: Settings, payload: Payload, folder: Path, work: Path, epoch: int) -> Path:
    """The first kernel as a unified kernel image."""
    kernel, efi = payload.kernels[0], EfiArch.of(Arch(payload.arch))
    (entry, *_) = entries_of(settings, payload)
    parts = Parts(
        stub=folder / LOADERS / Loader.UKI / f"linux{efi.short}.efi.stub",
        kernel=folder / kernel.kernel,
        initramfs=folder / kernel.initramfs,
        arguments=entry.arguments,
        os_release=titled_os_release(settings.title),
        version=kernel.version,
    )
    target = work / efi.program
    make_uki(parts, target, epoch)
    os.utime(target, (epoch, epoch))
    return target


def _theme(settings: Settings, programs: Path) -> dict[str, Path]:
    """The files of a GRUB theme, and the font that its texts fall back to. Raises where it is no theme, or has none."""
    if settings.theme is None:
        return {}
    if not (settings.theme / "theme.txt").is_file():
        message = f"the folder {settings.theme.name!r} has no theme.txt, so it is no theme for GRUB"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="see GRUB's manual, Theme file format")
    if not (programs / "unicode.pf2").is_file():
        message = "the payload's environment has no font for GRUB's menu (unicode.pf2)"
        hint = "install grub-common, or sys-boot/grub[fonts], there"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)
    found = {f"{THEME}/unicode.pf2": programs / "unicode.pf2"}
    for path in _files(settings.theme):
        found[f"{THEME}/{path.relative_to(settings.theme)}"] = path
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write(texts: Mapping[str, str], folder: Path, epoch: int) -> dict[str, Path]:
    """Generated files, by their path on the medium."""
    written = {}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (epoch, epoch))
        written[name] = path
    return written
