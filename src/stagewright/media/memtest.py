"""memtest86+ (6 or later) from an environment: one program for UEFI, and one that BIOS loaders start like a kernel."""

from __future__ import annotations

from pathlib import Path

from stagewright.kernel.find import copy_out
from stagewright.media.efi import EfiArch
from stagewright.root import files
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root

_PLACES = {
    "memtest.efi": ("/boot/memtest86+x64.efi", "/boot/memtest86plus/memtest.efi64", "/boot/memtest86plus/memtest.efi"),
    "memtest.bin": (
        "/boot/memtest86+x64.bin",
        "/boot/memtest86plus/memtest64.bios",
        "/boot/memtest86plus/memtest.bios",
    ),
}
"""Paths at which Debian and Gentoo install them."""


def _found(root: Root, name: str) -> str | None:
    return next((path for path in _PLACES[name] if files.exists(root.path, path)), None)


def memtest_files(root: Root) -> list[str]:
    """Return the paths of the programs in an environment."""
    return [path for name in _PLACES if (path := _found(root, name))]


def missing_memtest(root: Root, efi: EfiArch) -> list[MissingRequirement]:
    """Return what an environment lacks for memtest86+."""
    if efi.is_arm:
        return [MissingRequirement("memtest86+ is for amd64 and x86", "remove `memtest`")]
    missing = [name for name in _PLACES if not _found(root, name)]
    looked = ", ".join(path for name in missing for path in _PLACES[name])
    hint = "install memtest86+ (Debian) or sys-apps/memtest86+[uefi64,bios64] (Gentoo)"
    return [MissingRequirement(f"the environment has no memtest86+ (not found: {looked})", hint)] if missing else []


def take_memtest(root: Root, target: Path) -> None:
    """Copy both programs out of an environment. The caller has checked that it has them."""
    for name in _PLACES:
        path = _found(root, name)
        assert path, "the environment was checked"
        copy_out(root, path, target / name)
