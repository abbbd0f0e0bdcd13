"""Kernels in an environment: where they lie, what they can do, and building one from sources by make or genkernel."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.root import files
from stagewright.root.lacks import Lack, refuse
from stagewright.root.local import has_program
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
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

_CONFIG = "/tmp/stagewright-kernel.config"
_OVERLAY = "/tmp/stagewright-initramfs"
_OPTION = re.compile(r"^CONFIG_([A-Z0-9_]+)=(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Capabilities:
    """What a kernel can do: its options where its configuration is known, and the names of its modules.

    ``builtin`` are names of what is compiled in, which modules.builtin tells even where no configuration is.
    """

    options: Mapping[str, str] | None
    modules: frozenset[str]
    builtin: frozenset[str]

    def lacks(self, *, initramfs: str, efi: bool) -> Iterator[str]:
        """What a live system would miss, in words of the configuration: it would end in a black screen."""
        for option, module in FOR_LIVE.items():
            if not self.has(option, module):
                yield f"CONFIG_{option} ({module})"
        if self.options is not None and initramfs and f"RD_{initramfs}" not in self.options:
            yield f"CONFIG_RD_{initramfs} (an initramfs packed by {initramfs.lower()})"
        if self.options is not None and efi and "EFI_STUB" not in self.options:
            yield "CONFIG_EFI_STUB (to be started by UEFI)"

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
    text = next((path.read_text(errors="replace") for path in texts if path.is_file()), None)
    options = None if text is None else dict(_OPTION.findall(text))
    folder = Path("/lib/modules", version)
    builtin = folder / "modules.builtin"
    lines = builtin.read_text().splitlines() if builtin.is_file() else []
    found = (name for _, _, names in os.walk(folder / "kernel") for name in names)
    return Capabilities(options, module_names(found), module_names(lines))


def module_names(paths: Iterable[str]) -> frozenset[str]:
    """The names of the kernel modules among paths, with _ for -, as modprobe(8) compares them."""
    found = (re.fullmatch(r"(?:.*/)?([^/]+)\.ko(?:\.(?:gz|xz|zst))?", path) for path in paths)
    return frozenset(match[1].replace("-", "_") for match in found if match)


def check_kernel(version: str, able: Capabilities, *, compressor: str, efi: bool) -> None:
    """Refuse a kernel that could not start a live system, with what its configuration misses."""
    lacks = list(able.lacks(initramfs=compressor, efi=efi))
    if lacks:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"kernel {version} cannot start a live system: it lacks {', '.join(lacks)}",
            hint="set these in the kernel's configuration (`kernel.config`), or take another kernel",
        )


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


_NEEDS = {
    "make": ("Makefile", "make or dev-build/make"),
    "flex": ("scripts/kconfig/lexer.l", "flex or sys-devel/flex"),
    "bison": ("scripts/kconfig/parser.y", "bison or sys-devel/bison"),
    "bc": ("kernel/time/timeconst.bc", "bc or app-alternatives/bc"),
    "ld": ("scripts/kconfig", "binutils or sys-devel/binutils"),
    "gcc": ("scripts/kconfig", "gcc or sys-devel/gcc"),
    "perl": ("scripts/checkpatch.pl", "perl or dev-lang/perl"),
}
"""Programs that kernel sources use, by the file of theirs that does (Documentation/process/changes.rst)."""


def check_tools(root: Root, tree: str, where: str) -> None:
    """Name all that is missing for building the sources at ``tree``. Raises ``ENVIRONMENT_LACKS`` for each."""
    if not files.exists(root.path, f"{tree}/Makefile"):
        what = f"{where} has no kernel sources at {tree}"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint="install them by `kernel.sources`, or see the path")
    lacks = [
        Lack(f"{where} lacks {program}, which building the kernel takes", f"install {package}")
        for program, (file, package) in _NEEDS.items()
        if files.exists(root.path, f"{tree}/{file}") and not has_program(root, program)
    ]
    objtool = files.exists(root.path, f"{tree}/tools/objtool")
    if objtool and not any(files.exists(root.path, f"/usr/include/{name}") for name in ("gelf.h", "libelf/gelf.h")):
        what = f"{where} lacks libelf's headers, which building the kernel takes"
        lacks.append(Lack(what, "install libelf-dev or virtual/libelf"))
    refuse(lacks)


@dataclass(frozen=True)
class Sources:
    """How to build a kernel: the sources' path in the root, a configuration of the project, a suffix of the version."""

    tree: str
    config: Path | None
    extraversion: str
    jobs: int
    epoch: int

    @property
    def env(self) -> dict[str, str]:
        """What keeps time, user and host out of the kernel (Documentation/kbuild/reproducible-builds.rst)."""
        return {
            "KBUILD_BUILD_TIMESTAMP": f"@{self.epoch}",
            "KBUILD_BUILD_USER": "stagewright",
            "KBUILD_BUILD_HOST": "stagewright",
            "SOURCE_DATE_EPOCH": str(self.epoch),
        }

    @property
    def binds(self) -> list[Bind]:
        """The configuration, inside."""
        return [Bind(self.config, _CONFIG)] if self.config else []

    @property
    def make(self) -> list[str]:
        """The command that all targets of the sources' Makefile are asked by."""
        suffix = [f"LOCALVERSION=-{self.extraversion}"] if self.extraversion else []
        return ["make", "-C", self.tree, f"-j{self.jobs}", *suffix]


def build_by_make(root: Root, sources: Sources) -> str:
    """Configure, compile and install a kernel and its modules inside the root. Returns its version."""
    tree, make = sources.tree, sources.make
    _configure(root, sources)
    root.run(*make, env=sources.env)
    version = root.ask(*make, "--silent", "--no-print-directory", "kernelrelease").split()[-1]
    image = root.ask(*make, "--silent", "--no-print-directory", "image_name").split()[-1]
    if "MODULES" in dict(_OPTION.findall(files.read_file(root.path, f"{tree}/.config") or "")):
        root.run(*make, "INSTALL_MOD_STRIP=1", "modules_install", env=sources.env)
    root.run("mkdir", "-p", f"/lib/modules/{version}", "/boot")
    root.run("cp", f"{tree}/{image}", f"/boot/vmlinuz-{version}")
    root.run("cp", f"{tree}/.config", f"/boot/config-{version}")
    for name in ("modules.builtin", "modules.order"):  # what depmod reads; a kernel without modules installs none
        if not files.exists(root.path, f"/lib/modules/{version}/{name}"):
            files.write_file(root.path, f"/lib/modules/{version}/{name}", "", epoch=sources.epoch)
    return version


def _configure(root: Root, sources: Sources) -> None:
    """The project's configuration, else the one in the sources, else the architecture's default, made complete."""
    if sources.config:
        root.run("cp", _CONFIG, f"{sources.tree}/.config", binds=sources.binds)
    elif not files.exists(root.path, f"{sources.tree}/.config"):
        root.run(*sources.make, "defconfig", env=sources.env)
    root.run(*sources.make, "olddefconfig", env=sources.env)


def build_by_genkernel(root: Root, sources: Sources, arguments: Sequence[str], overlay: Path | None) -> str:
    """Have genkernel(8) build a kernel, its modules and its initramfs inside the root. Returns the kernel's version."""
    words = ["genkernel", "--no-color", "--no-mountboot", "--no-menuconfig", f"--kerneldir={sources.tree}"]
    words += [f"--makeopts=-j{sources.jobs}", "--kernel-filename=vmlinuz-%%KV%%"]
    words += ["--initramfs-filename=initramfs-%%KV%%.img", "--systemmap-filename=System.map-%%KV%%"]
    words += [f"--kernel-config={_CONFIG}"] if sources.config else []
    words += [f"--kernel-append-localversion=-{sources.extraversion}"] if sources.extraversion else []
    words += [f"--initramfs-overlay={_OVERLAY}"] if overlay else []
    before = set(inside(root.path, _versions))
    binds = [*sources.binds, *([Bind(overlay, _OVERLAY)] if overlay else [])]
    root.run(*words, *arguments, "all", binds=binds, env=sources.env)
    new = sorted(set(inside(root.path, _versions)) - before)
    if len(new) != 1:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"genkernel left {len(new) or 'no'} kernels with an initramfs in /boot: {', '.join(new)}",
            hint="see what genkernel said in the log; a kernel that was there before is not taken",
        )
    return new[0]


def _versions() -> list[str]:
    """Versions for which /boot has an initramfs of genkernel's."""
    found = (re.fullmatch(r"initramfs-(.+)\.img", name) for name in files.names_in("/boot"))
    return [match[1] for match in found if match]
