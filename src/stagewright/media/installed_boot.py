"""Boot files of a payload in the places of an installed system, so that a live root can install itself.

Installers, kernel-install(8) and bootctl(1) look for them there::

    /usr/lib/modules/VERSION/vmlinuz            the kernel, signed if the payload is signed
    /usr/lib/modules/VERSION/initramfs.img
    /usr/lib/systemd/boot/efi/                  systemd-boot and the stub of unified kernel images
    /usr/lib/grub/i386-pc/boot.img, core.img    GRUB for a disk with BIOS
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagewright.arch import Arch
from stagewright.media.efi import EfiArch
from stagewright.media.loaders import BOOT_IMAGE, CORE_IMAGE, Loader
from stagewright.media.payload import LOADERS, Payload

SYSTEMD_EFI = "/usr/lib/systemd/boot/efi"
GRUB_PC = "/usr/lib/grub/i386-pc"

INSTALLED = (Loader.SYSTEMD_BOOT, Loader.UKI, Loader.GRUB_HYBRID)
"""Loaders with programs for installed systems."""


def boot_files(payload: Payload, folder: Path) -> dict[str, Path]:
    """Return the boot files of a payload in a folder by their paths in an installed system.

    Of several kernels with one version, the first counts.
    """
    found: dict[str, Path] = {}
    for kernel in payload.kernels:
        place = f"/usr/lib/modules/{kernel.version}"
        found.setdefault(f"{place}/vmlinuz", folder / kernel.kernel)
        found.setdefault(f"{place}/initramfs.img", folder / kernel.initramfs)
    return found | dict(_programs(EfiArch.of(Arch(payload.arch)), folder / LOADERS))


def _programs(efi: EfiArch, folder: Path) -> Iterator[tuple[str, Path]]:
    known = (
        (f"{SYSTEMD_EFI}/systemd-boot{efi.short}.efi", Loader.SYSTEMD_BOOT, efi.program),
        (f"{SYSTEMD_EFI}/{efi.stub}", Loader.UKI, efi.stub),
        (f"{GRUB_PC}/{BOOT_IMAGE}", Loader.GRUB_HYBRID, BOOT_IMAGE),
        (f"{GRUB_PC}/{CORE_IMAGE}", Loader.GRUB_HYBRID, CORE_IMAGE),
    )
    for place, loader, name in known:
        path = folder / loader / name
        if path.is_file():
            yield place, path
