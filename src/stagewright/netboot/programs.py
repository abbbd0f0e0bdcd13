"""Programs for boot servers, which machines load before the kernel, taken from a root."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.find import copy_out
from stagewright.lazy_dataclass import dataclass
from stagewright.media.efi import EfiArch
from stagewright.media.loaders import grub_mkimage
from stagewright.root import files
from stagewright.root.requirements import MissingRequirement

if TYPE_CHECKING:
    from stagewright.root.root import Root

PROGRAMS = "network"
"""Folder, in a payload, of the programs for boot servers."""

_GRUB_MODULES = "configfile echo gzio http linux ls net normal reboot serial sleep smbios terminal test tftp true"
_GRUB_EARLY = "configfile $cmdpath/grub.cfg\n"  # in the folder of the program on the server


@dataclass(frozen=True)
class BootProgram:
    """A program for a boot server: its name in a set, and its paths in distributions."""

    name: str
    paths: Sequence[str]


_FILES: Mapping[str, Sequence[BootProgram]] = {
    "ipxe": (
        BootProgram("undionly.kpxe", ("/usr/lib/ipxe/undionly.kpxe", "/usr/share/ipxe/undionly.kpxe")),
        BootProgram("ipxe.efi", ("/usr/lib/ipxe/ipxe.efi", "/usr/share/ipxe/ipxe.efi")),
        BootProgram("snponly.efi", ("/usr/lib/ipxe/snponly.efi", "/usr/share/ipxe/snponly.efi")),
    ),
    "pxelinux": (
        BootProgram("pxelinux.0", ("/usr/lib/PXELINUX/pxelinux.0", "/usr/share/syslinux/pxelinux.0")),
        BootProgram("ldlinux.c32", ("/usr/lib/syslinux/modules/bios/ldlinux.c32", "/usr/share/syslinux/ldlinux.c32")),
    ),
}
_SNPONLY = "snponly.efi"  # old packages of iPXE lack it; ipxe.efi can replace it


class GrubNet(enum.StrEnum):
    """A program of GRUB for the network, by its name in a set."""

    BIOS = "grub.0"
    EFI = "grubx64.efi"
    ARM64 = "grubaa64.efi"

    @property
    def image_format(self) -> str:
        """Its format for grub-mkimage(1)."""
        return "i386-pc-pxe" if self is GrubNet.BIOS else self.platform

    @property
    def platform(self) -> str:
        """GRUB's platform, which is also the folder of its modules."""
        return {"grub.0": "i386-pc", "grubx64.efi": "x86_64-efi", "grubaa64.efi": "arm64-efi"}[self.value]

    @property
    def modules(self) -> list[str]:
        """The modules linked into it; it loads none later."""
        return [
            *_GRUB_MODULES.split(),
            *(["pxe", "biosdisk"] if self is GrubNet.BIOS else ["efinet", "efi_gop", "all_video"]),
        ]


class NetLoader(enum.StrEnum):
    """A boot loader that machines load from the network."""

    IPXE = "ipxe"
    PXELINUX = "pxelinux"
    GRUB = "grub"

    @property
    def packages(self) -> str:
        """Packages that install it, on Debian and on Gentoo."""
        return {
            "ipxe": "ipxe on Debian, sys-firmware/ipxe on Gentoo",
            "pxelinux": "pxelinux and syslinux-common on Debian, sys-boot/syslinux on Gentoo",
            "grub": "grub-common with grub-pc-bin, grub-efi-amd64-bin or grub-efi-arm64-bin on Debian, "
            "sys-boot/grub[grub_platforms_pc,grub_platforms_efi-64] on Gentoo",
        }[self.value]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its programs in a set."""
        if self is NetLoader.GRUB:
            return tuple(GrubNet)
        return tuple(program.name for program in _FILES[self])

    def missing(self, root: Root, efi: EfiArch) -> list[MissingRequirement]:
        """Return what the environment lacks for it."""
        if self is not NetLoader.GRUB and efi.is_arm:
            message = f"{self}: not available for arm64 (only for amd64 and x86)"
            return [MissingRequirement(message, 'set network_loaders = ["grub"]')]
        if self is NetLoader.GRUB:
            missing = [] if grub_mkimage(root) else ["grub-mkimage"]
            names = " or ".join(program.platform for program in _wanted(efi))
            missing += [] if _platforms(root, efi) else [f"GRUB's modules for {names}"]
        else:
            wanted = [program for program in _FILES[self] if program.name != _SNPONLY]
            missing = [program.name for program in wanted if not _find(root, program)]
        message = f"the environment has no {self} for the network (not found: {', '.join(missing)})"
        return [MissingRequirement(message, f"install {self.packages}")] if missing else []

    def take(self, root: Root, efi: EfiArch, target: Path, inside_root: str) -> None:
        """Put its programs into ``target``, which is ``inside_root`` in the root."""
        if self is NetLoader.GRUB:
            for program in _platforms(root, efi):
                _make_grub(root, program, target, inside_root)
            return
        for file in _FILES[self]:
            path = _find(root, file)
            if path:
                copy_out(root, path, target / file.name)

    def origins(self, root: Root, efi: EfiArch) -> list[str]:
        """Return paths of the environment's files that its programs are copied or linked from."""
        if self is NetLoader.GRUB:
            return [f"/usr/lib/grub/{program.platform}/net.mod" for program in _platforms(root, efi)]
        return [path for file in _FILES[self] if (path := _find(root, file))]


def _find(root: Root, program: BootProgram) -> str | None:
    return next((path for path in program.paths if files.exists(root.path, path)), None)


def _wanted(efi: EfiArch) -> list[GrubNet]:
    """Return GRUB's programs for an architecture."""
    return [GrubNet.ARM64] if efi.is_arm else [GrubNet.BIOS, GrubNet.EFI]


def _platforms(root: Root, efi: EfiArch) -> list[GrubNet]:
    return [one for one in _wanted(efi) if files.exists(root.path, f"/usr/lib/grub/{one.platform}/net.mod")]


def _make_grub(root: Root, program: GrubNet, target: Path, inside_root: str) -> None:
    early = target / "early.cfg"
    early.unlink(missing_ok=True)  # an earlier command of the root may have made a link there
    early.write_text(_GRUB_EARLY, encoding="utf-8")
    modules = [name for name in program.modules if _has_module(root, program, name)]
    words = [
        str(grub_mkimage(root)),
        f"--format={program.image_format}",
        "--prefix=/",
        f"--config={inside_root}/early.cfg",
    ]
    root.run(*words, f"--output={inside_root}/{program}", *modules)
    early.unlink()


def _has_module(root: Root, program: GrubNet, name: str) -> bool:
    """Return True unless the module is missing and menus do without it: `smbios`, which GRUB has since 2.04."""
    return name != "smbios" or files.exists(root.path, f"/usr/lib/grub/{program.platform}/smbios.mod")


def is_bios(name: str) -> bool:
    """Return True if a program with this name is for BIOS machines, which limit its size."""
    return name in ("undionly.kpxe", "pxelinux.0", GrubNet.BIOS)


def check_payload(folder: Path, wanted: Sequence[NetLoader], payload: str) -> None:
    """Check that a payload contains these boot loaders. Raises ``ENVIRONMENT_LACKS`` if not."""
    missing = [loader for loader in wanted if not (folder / PROGRAMS / loader).is_dir()]
    if missing:
        names = ", ".join(f'"{loader}"' for loader in missing)
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"the payload {payload!r} does not contain {', '.join(missing)} for the network",
            hint=f"add {names} to `network_loaders` of {payload!r}, or set `loaders` here",
        )
