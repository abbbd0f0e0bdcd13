"""Firmware and microcode from an environment's /lib/firmware: nothing unless it was asked for, and then by name (R44).

Most of it is not free software, so what comes in is recorded in the payload and in the manifests of media.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.chroot import inside
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root

SOURCE = "/lib/firmware"

CHOSEN = "/var/lib/stagewright/firmware"
"""Where dracut looks for firmware: what was chosen, and nothing else that the environment happens to have."""

MICROCODE = ("intel-ucode", "amd-ucode")
"""The folders of processors' microcode; dracut puts them into a first, uncompressed part of the initramfs."""


@dataclass(frozen=True)
class Firmware:
    """Paths below /lib/firmware of what was chosen."""

    files: tuple[str, ...]
    microcode: tuple[str, ...]


def missing_firmware(root: Root, patterns: Sequence[str], *, microcode: bool, where: str) -> list[MissingRequirement]:
    """Patterns (the shell's, below /lib/firmware) that match nothing, and microcode that is not there."""
    _, unmatched = inside(root.path, _match, list(patterns))
    lacks = [
        MissingRequirement(
            f"{where} has no firmware {name} in {SOURCE}", "install linux-firmware there, or see the pattern"
        )
        for name in unmatched
    ]
    if microcode and not _microcode(root):
        hint = "install it: intel-microcode, amd64-microcode; or sys-firmware/intel-microcode, linux-firmware"
        lacks.append(MissingRequirement(f"{where} has no microcode in {SOURCE}", hint))
    return lacks


def choose_firmware(root: Root, patterns: Sequence[str], *, microcode: bool) -> Firmware:
    """Copy what matches patterns (the shell's, below /lib/firmware) to where dracut looks."""
    found, _ = inside(root.path, _match, list(patterns))
    codes = _microcode(root) if microcode else []
    inside(root.path, _copy, sorted({*found, *codes}))
    return Firmware(tuple(found), tuple(codes))


def _microcode(root: Root) -> list[str]:
    return inside(root.path, _match, [f"{folder}/*" for folder in MICROCODE])[0]


def _match(patterns: list[str]) -> tuple[list[str], list[str]]:
    names = sorted(
        os.path.relpath(f"{folder}/{name}", SOURCE) for folder, _, files in os.walk(SOURCE) for name in files
    )
    found = {pattern: fnmatch.filter(names, pattern) for pattern in patterns}
    chosen = sorted({name for matches in found.values() for name in matches})
    return _with_targets(chosen), [pattern for pattern, matches in found.items() if not matches]


def _with_targets(names: list[str]) -> list[str]:
    """The names, and what links among them lead to, as long as that is firmware too."""
    real = (os.path.relpath(os.path.realpath(f"{SOURCE}/{name}"), os.path.realpath(SOURCE)) for name in names)
    return sorted({*names, *(name for name in real if not name.startswith("../"))})


def _copy(names: list[str]) -> None:
    shutil.rmtree(CHOSEN, ignore_errors=True)
    Path(CHOSEN).mkdir(parents=True)
    for name in names:
        target = Path(CHOSEN, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(SOURCE, name), target, follow_symlinks=False)


def copy_firmware(root: Root, firmware: Firmware, target: Path) -> None:
    """Copy the chosen firmware, without microcode, out of a root."""
    for name in firmware.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root.path / CHOSEN.lstrip("/") / name, target / name, follow_symlinks=False)
