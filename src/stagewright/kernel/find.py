"""Kernels in an environment: where they lie, and whether they can start a live system."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.run import inside

IMAGES = (
    "/boot/vmlinuz-{version}",
    "/lib/modules/{version}/vmlinuz",
    "/boot/kernel-{version}",
    "/boot/kernel-genkernel-x86_64-{version}",
    "/boot/kernel-genkernel-arm64-{version}",
    "/usr/src/linux-{version}/arch/x86/boot/bzImage",
    "/usr/src/linux-{version}/arch/arm64/boot/vmlinuz.efi",
    "/usr/src/linux-{version}/arch/arm64/boot/Image",
)
"""Where packages and tools put a kernel's image. On arm64 ``vmlinuz.efi`` unpacks itself (CONFIG_EFI_ZBOOT)."""

CONFIGURATIONS = ("/boot/config-{version}", "/lib/modules/{version}/config", "/lib/modules/{version}/build/.config")

FOR_LIVE = {"SQUASHFS": "squashfs", "OVERLAY_FS": "overlay", "BLK_DEV_LOOP": "loop", "ISO9660_FS": "isofs"}
"""What a live system needs of its kernel: options of its configuration, and the modules that they are."""

COMPRESSIONS = {"zstd": "SQUASHFS_ZSTD", "xz": "SQUASHFS_XZ", "gzip": "SQUASHFS_ZLIB", "lz4": "SQUASHFS_LZ4"}

_GZIP, _PROGRAM = b"\x1f\x8b", b"MZ"
"""How packed files (RFC 1952) and programs for UEFI (PE format) begin."""

FOR_INITRAMFS = (
    *("DEVTMPFS", "TMPFS", "PROC_FS", "SYSFS", "BINFMT_ELF", "BINFMT_SCRIPT"),
    *("UNIX", "EPOLL", "SIGNALFD", "TIMERFD", "INOTIFY_USER"),
)
"""What scripts and udev in an initramfs need of a kernel (README of systemd); small configurations lack some."""

_OPTION = re.compile(r"^CONFIG_([A-Za-z0-9_]+)=(.+)$", re.MULTILINE)
_UNSET = re.compile(r"^# CONFIG_([A-Za-z0-9_]+) is not set$", re.MULTILINE)


@dataclass(frozen=True)
class Demand:
    """What a payload asks of its kernels, besides what every live system does.

    ``compressor`` is what packs the initramfs, such as ZSTD; "" where what makes it sees to that itself.
    """

    compressor: str
    efi: bool


@dataclass(frozen=True)
class Capabilities:
    """What a kernel can do: its options where its configuration is known, and the names of its modules.

    ``builtin`` are names of what is compiled in, which modules.builtin tells even where no configuration is.
    """

    options: Mapping[str, str] | None
    modules: frozenset[str]
    builtin: frozenset[str]

    def missing(self, demand: Demand) -> Iterator[tuple[str, str]]:
        """Options that a live system would miss, each with what for: it would end in a black screen."""
        yield from ((option, module) for option, module in FOR_LIVE.items() if not self.has(option, module))
        if self.options is None:
            return
        more = dict.fromkeys(FOR_INITRAMFS, "for every initramfs")
        if demand.compressor:
            more[f"RD_{demand.compressor}"] = f"an initramfs packed by {demand.compressor.lower()}"
        if demand.efi:
            more["EFI_STUB"] = "to be started by UEFI"
        yield from ((option, why) for option, why in more.items() if option not in self.options)

    def has(self, option: str, module: str) -> bool:
        """Whether an option is set, or a module there: compiled in or beside it."""
        return option in self.options if self.options is not None else module in self.modules | self.builtin

    def is_module(self, option: str, module: str) -> bool:
        """Whether it is a module of its own, which an initramfs must bring."""
        return module not in self.builtin if self.options is None else self.options.get(option) == "m"

    @property
    def compressions(self) -> tuple[str, ...] | None:
        """The compressions of squashfs that it reads; None where its configuration is unknown."""
        if self.options is None:
            return None
        return tuple(name for name, option in COMPRESSIONS.items() if option in self.options)


def capabilities(root: Root, version: str) -> Capabilities:
    """What the kernel of this version in a root can do."""
    return inside(root.path, _capabilities, version)


def _capabilities(version: str) -> Capabilities:
    texts = [Path(path.format(version=version)) for path in CONFIGURATIONS]
    text = next((path.read_text(errors="replace", encoding="utf-8") for path in texts if path.is_file()), None)
    options = None if text is None else options_of(text)
    folder = Path("/lib/modules", version)
    builtin = folder / "modules.builtin"
    lines = builtin.read_text(encoding="utf-8").splitlines() if builtin.is_file() else []
    found = (name for _, _, names in os.walk(folder / "kernel") for name in names)
    return Capabilities(options, module_names(found), module_names(lines))


def options_of(text: str) -> dict[str, str]:
    """The options that a configuration sets, with their values: y, m, a number, a text in quotes."""
    return {option: value for option, value in _OPTION.findall(text) if value != "n"}


def ruled_out(text: str) -> list[str]:
    """Options that every live system takes, and that a configuration says it will not have."""
    unset = set(_UNSET.findall(text)) | {option for option, value in _OPTION.findall(text) if value == "n"}
    return [option for option in (*FOR_LIVE, *FOR_INITRAMFS) if option in unset]


def module_names(paths: Iterable[str]) -> frozenset[str]:
    """The names of the kernel modules among paths, with _ for -, as modprobe(8) compares them."""
    found = (re.fullmatch(r"(?:.*/)?([^/]+)\.ko(?:\.(?:gz|xz|zst))?", path) for path in paths)
    return frozenset(match[1].replace("-", "_") for match in found if match)


def check_kernel(version: str, able: Capabilities, demand: Demand) -> None:
    """Refuse a kernel that could not start a live system, with what its configuration misses."""
    lacks = list(able.missing(demand))
    if lacks:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"kernel {version} cannot start a live system: it lacks {listed(lacks)}",
            hint="set these in the kernel's configuration (`kernel.config`), or take another kernel",
        )


def listed(lacks: Iterable[tuple[str, str]]) -> str:
    """Options and what each is for, in a line."""
    return ", ".join(f"CONFIG_{option} ({why})" for option, why in lacks)


def copy_out(root: Root, path: str, target: Path) -> None:
    """Copy a file of a root, links followed inside it, to a place outside."""
    real = inside(root.path, os.path.realpath, path)
    shutil.copyfile(root.path / real.lstrip("/"), target)


def copy_image(root: Root, path: str, target: Path, *, efi: bool) -> None:
    """Copy the image of a kernel out; one packed by gzip, which is arm64's default, is unpacked: UEFI starts no such.

    Raises ``ENVIRONMENT_LACKS`` for what UEFI cannot start, where it is to (Documentation/admin-guide/efi-stub.rst).
    """
    copy_out(root, path, target)
    with target.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    if packed:
        part = target.with_name(f"{target.name}.part")
        with gzip.open(target) as source, part.open("wb") as plain:
            shutil.copyfileobj(source, plain)
        part.replace(target)
    with target.open("rb") as stream:
        if efi and stream.read(2) != _PROGRAM:
            message = f"the kernel's image {path} is no program for UEFI"
            hint = "set CONFIG_EFI_STUB in its configuration, or take another kernel"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)


def image_of(root: Root, version: str, where: str) -> str:
    """The image of the kernel of this version, as a path in the root; ``where`` names the root for people."""
    candidates = [path.format(version=version) for path in IMAGES]
    for path in candidates:
        if files.exists(root.path, path):
            return path
    raise StagewrightError(
        Reason.ENVIRONMENT_LACKS,
        f"{where} has modules of kernel {version} but not its image",
        detail="\n".join(f"  looked for {path}" for path in candidates),
        hint="a package that installs a kernel puts it there; sources alone need `kernel.sources` or `kernel.tree`",
    )
