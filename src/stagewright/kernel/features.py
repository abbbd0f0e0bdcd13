"""Kernel options: what a kernel supports, and what a live system requires of its kernel.

A kernel without these options boots into a black screen or a panic. Stagewright therefore compares both at build time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.trees import files_below
from stagewright.untrusted import read_root_text

if TYPE_CHECKING:
    from stagewright.root.root import Root

CONFIGURATIONS = ("/boot/config-{version}", "/lib/modules/{version}/config", "/lib/modules/{version}/build/.config")

LIVE_SYSTEM_OPTIONS = {"SQUASHFS": "squashfs", "OVERLAY_FS": "overlay", "BLK_DEV_LOOP": "loop", "ISO9660_FS": "isofs"}
"""Options that a live system requires, and the module that each option builds."""

VERITY_OPTIONS = {"DM_VERITY": "to verify the image", "CRYPTO_SHA256": "to verify the image"}
"""Options that dm-verity requires, with their purpose."""

INITRAMFS_OPTIONS = (
    *("DEVTMPFS", "TMPFS", "PROC_FS", "SYSFS", "BINFMT_ELF", "BINFMT_SCRIPT"),
    *("UNIX", "EPOLL", "SIGNALFD", "TIMERFD", "INOTIFY_USER"),
)
"""Options that scripts and udev in an initramfs require (README of systemd). Small configurations omit some."""

SQUASHFS_OPTIONS = {"zstd": "SQUASHFS_ZSTD", "xz": "SQUASHFS_XZ", "gzip": "SQUASHFS_ZLIB", "lz4": "SQUASHFS_LZ4"}
"""The option for each compression of squashfs."""

_OPTION = lazy_pattern(r"^CONFIG_([A-Za-z0-9_]+)=(.+)$", re.MULTILINE)
_UNSET = lazy_pattern(r"^# CONFIG_([A-Za-z0-9_]+) is not set$", re.MULTILINE)


@dataclass(frozen=True)
class LiveRequirements:
    """Requirements of a payload for its kernels, in addition to those of every live system.

    ``compressor`` is the compression of the initramfs as in ``CONFIG_RD_ZSTD``, or "" if the tool that makes the
    initramfs chooses it. ``efi`` is True if UEFI starts the kernel, ``verity`` if the initramfs opens the image through
    dm-verity.
    """

    compressor: str
    efi: bool
    verity: bool = False


@dataclass(frozen=True)
class KernelFeatures:
    """The options and modules of a kernel.

    ``options`` are the options of its configuration with their values, or None if the root does not have the
    configuration. ``modules`` are the names of its modules, ``builtin`` those of modules that are compiled in, from
    modules.builtin. ``aliases`` are further names of modules, without patterns for devices. Names have ``_`` for ``-``.
    """

    options: Mapping[str, str] | None
    modules: frozenset[str]
    builtin: frozenset[str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def drivers(self) -> frozenset[str]:
        """Names of all modules, also of those that are compiled in."""
        return self.modules | self.builtin

    def module_of(self, driver: str) -> str | None:
        """Return the module that modprobe(8) loads for a name, or None if this kernel does not have the driver."""
        name = driver.replace("-", "_")
        names = (name, self.aliases.get(name), self.aliases.get(f"fs_{name}"))
        return next((one for one in names if one in self.drivers), None)

    def missing(self, requirements: LiveRequirements) -> Iterator[tuple[str, str]]:
        """Yield each option that a live system requires and this kernel does not have, with its purpose."""
        yield from ((name, module) for name, module in LIVE_SYSTEM_OPTIONS.items() if not self.has(name, module))
        if requirements.verity and not self.has("DM_VERITY", "dm_verity"):
            yield "DM_VERITY", VERITY_OPTIONS["DM_VERITY"]
        if self.options is None:
            return
        if requirements.verity and "CRYPTO_SHA256" not in self.options:
            yield "CRYPTO_SHA256", VERITY_OPTIONS["CRYPTO_SHA256"]
        more = dict.fromkeys(INITRAMFS_OPTIONS, "for every initramfs")
        if requirements.compressor:
            more[f"RD_{requirements.compressor}"] = f"for an initramfs packed with {requirements.compressor.lower()}"
        if requirements.efi:
            more["EFI_STUB"] = "for UEFI to start the kernel"
        yield from ((option, purpose) for option, purpose in more.items() if option not in self.options)

    def has(self, option: str, module: str) -> bool:
        """Return True if an option is set; without a configuration, if its module exists or is compiled in."""
        return option in self.options if self.options is not None else module in self.drivers

    def is_module(self, option: str, module: str) -> bool:
        """Return True if the driver is a loadable module, which the initramfs must then contain."""
        return module not in self.builtin if self.options is None else self.options.get(option) == "m"

    @property
    def compressions(self) -> tuple[str, ...] | None:
        """The compressions of squashfs that the kernel reads; None if its configuration is unknown."""
        if self.options is None:
            return None
        return tuple(name for name, option in SQUASHFS_OPTIONS.items() if option in self.options)


def read_features(root: Root, version: str) -> KernelFeatures:
    """Return what the kernel with this version in a root supports."""
    return inside(root.path, _read_features, version)


def _read_features(version: str) -> KernelFeatures:
    texts = [Path(path.format(version=version)) for path in CONFIGURATIONS]
    text = next((read_root_text(path, errors="replace") for path in texts if path.is_file()), None)
    options = None if text is None else parse_options(text)
    folder = Path("/lib/modules", version)
    builtin = folder / "modules.builtin"
    lines = read_root_text(builtin, errors="replace").splitlines() if builtin.is_file() else []
    found = (path.rpartition("/")[2] for path in files_below(Path(os.path.realpath(folder))))
    return KernelFeatures(options, module_names(found), module_names(lines), dict(_aliases(folder)))


def _aliases(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield names and their modules, from modules.alias and modules.builtin.modinfo (kbuild.rst of the kernel)."""
    path = folder / "modules.builtin.modinfo"
    for entry in read_root_text(path, errors="replace").split("\0") if path.is_file() else ():
        module, _, rest = entry.partition(".")
        if rest.startswith("alias="):
            yield from _plain_alias(rest.removeprefix("alias="), module)
    path = folder / "modules.alias"
    for line in read_root_text(path, errors="replace").splitlines() if path.is_file() else ():
        words = line.split()
        if len(words) == 3 and words[0] == "alias":
            yield from _plain_alias(words[1], words[2])


def _plain_alias(name: str, module: str) -> Iterator[tuple[str, str]]:
    if re.fullmatch(r"[\w-]+", name, re.ASCII):
        yield name.replace("-", "_"), module.replace("-", "_")


def parse_options(text: str) -> dict[str, str]:
    """Return the options that a configuration sets, with their values: y, m, a number, or a quoted string."""
    return {option: value for option, value in _OPTION.findall(text) if value != "n"}


def disabled_requirements(text: str, *, verity: bool = False) -> list[str]:
    """Return the options that every live system requires and that a configuration explicitly disables.

    With ``verity`` these include the options that dm-verity requires.
    """
    unset = set(_UNSET.findall(text)) | {option for option, value in _OPTION.findall(text) if value == "n"}
    required = (*LIVE_SYSTEM_OPTIONS, *INITRAMFS_OPTIONS, *(VERITY_OPTIONS if verity else ()))
    return [option for option in required if option in unset]


def module_names(paths: Iterable[str]) -> frozenset[str]:
    """Return the names of the kernel modules among paths, with ``_`` for ``-`` as modprobe(8) compares them."""
    found = (re.fullmatch(r"(?:.*/)?([^/]+)\.ko(?:\.(?:gz|xz|zst))?", path) for path in paths)
    return frozenset(match[1].replace("-", "_") for match in found if match)


def check_features(version: str, features: KernelFeatures, requirements: LiveRequirements) -> None:
    """Check that a kernel can start a live system. Raises ``ENVIRONMENT_LACKS`` with the missing options."""
    missing = list(features.missing(requirements))
    if missing:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"kernel {version} cannot start a live system: missing {format_options(missing)}",
            hint="set these options in the kernel's configuration (`kernel.config`), or use another kernel",
        )


def format_options(missing: Iterable[tuple[str, str]]) -> str:
    """Return options and their purposes as one line."""
    return ", ".join(f"CONFIG_{option} ({purpose})" for option, purpose in missing)
