"""Files of the EFI system partition of a disk image: boot loader, its configuration, kernels and initramfs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.arch import Arch
from stagewright.confined import Tree
from stagewright.media.arguments import SystemArguments
from stagewright.media.efi import EfiArch
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.loaders import BootMenu, Loader, MenuEntry
from stagewright.media.payload import LOADERS, MODULES, BootKernel, Payload
from stagewright.media.uki import UkiParts, make_uki
from stagewright.root.sourced import titled_os_release

ESP_LABEL = "ESP"
_BIOS_MENU = "grub/grub.cfg"  # the core image for BIOS reads this file


def without_driver(payload: Path, formats: Sequence[str], work: Path) -> list[str]:
    """Return the drivers of file systems that the first kernel has as modules, and its initramfs does not have.

    A file system without a module is built into the kernel.
    """
    kernel = Payload.read(payload).kernels[0]
    modules = Tree(payload / MODULES / kernel.version, links=False)
    loadable = {Path(name).name.partition(".ko")[0] for name, _ in modules.files() if ".ko" in name}
    if wanted := [name for name in formats if name in loadable]:
        drivers = InitramfsContents.of(payload / kernel.initramfs, work).drivers
        return [name for name in dict.fromkeys(wanted) if name not in drivers]
    return []


@dataclass(frozen=True)
class DiskBoot:
    """How a disk starts. ``payload`` is the folder of a payload, ``work`` a folder for files that are made.

    With ``unified``, each kernel is one EFI program in EFI/Linux. ``name`` is that of the first one, without suffix.
    ``identifiers`` are those of the root in os-release(5). ``timeout`` is in seconds.
    """

    payload: Path
    work: Path
    arch: Arch
    loader: Loader
    unified: bool
    name: str
    title: str
    timeout: int
    arguments: SystemArguments
    identifiers: Mapping[str, str]
    epoch: int

    def files(self, root_arguments: Sequence[str]) -> dict[str, Path]:
        """Return the files by path. ``root_arguments`` are kernel arguments that find the root."""
        words = " ".join([*root_arguments, *self.arguments.words])
        kernels = Payload.read(self.payload).kernels
        if self.loader is Loader.UKI:
            return {f"EFI/BOOT/{self._program}": self._uki(kernels[0], words, self.title, self._program)}
        found = {f"EFI/BOOT/{self._program}": self.payload / LOADERS / self.loader / self._program}
        entries = self._entries(kernels, words)
        if self.unified:
            for number, (kernel, entry) in enumerate(zip(kernels, entries, strict=True)):
                name = f"{self.name}{f'-{kernel.name}' if number else ''}.efi"
                found[f"EFI/Linux/{name}"] = self._uki(kernel, words, entry.title, name)
        else:
            found |= {path: self.payload / path for one in kernels for path in (one.kernel, one.initramfs)}
        return found | self._configuration(entries)

    @property
    def _program(self) -> str:
        return EfiArch.of(self.arch).program

    def _entries(self, kernels: Sequence[BootKernel], words: str) -> list[MenuEntry]:
        titles = [self.title, *(f"{self.title} ({one.name})" for one in kernels[1:])]
        return [
            MenuEntry(one.name, title, words, one.kernel, one.initramfs)
            for one, title in zip(kernels, titles, strict=True)
        ]

    def _configuration(self, entries: Sequence[MenuEntry]) -> dict[str, Path]:
        """Write the configuration of the boot loader. It needs no entries for unified kernel images."""
        menu = BootMenu(self.title, entries, self.timeout, ESP_LABEL, serial=self.arguments.serial)
        found = {}
        for name, text in self.loader.configuration(menu).items():
            if self.unified and name.startswith("loader/entries/"):
                continue
            text = f"timeout {self.timeout}\neditor no\n" if self.unified else text  # noqa: PLW2901
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            os.utime(path, (self.epoch, self.epoch))
            found[name] = path
        if self.loader.is_bios:
            found[_BIOS_MENU] = found["EFI/BOOT/grub.cfg"]
        return found

    def _uki(self, kernel: BootKernel, words: str, title: str, name: str) -> Path:
        """Make a unified kernel image."""
        unified = UkiParts(
            stub=self.payload / LOADERS / Loader.UKI / EfiArch.of(self.arch).stub,
            kernel=self.payload / kernel.kernel,
            initramfs=self.payload / kernel.initramfs,
            arguments=words,
            os_release=titled_os_release(title, self.identifiers),
            version=kernel.version,
        )
        target = self.work / name
        make_uki(unified, target, self.epoch)
        return target
