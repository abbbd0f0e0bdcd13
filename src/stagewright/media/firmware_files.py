"""Firmware and microcode from an environment's /lib/firmware: only files that the project requests by pattern.

Most firmware is not free software, so the payload and the manifests of media list the files.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.lazy_dataclass import dataclass
from stagewright.root.requirements import MissingRequirement
from stagewright.trees import files_below, remove_tree
from stagewright.untrusted import is_plain

if TYPE_CHECKING:
    from stagewright.root.root import Root

SOURCE = "/lib/firmware"

LARGEST = 1 << 30
"""The largest file of firmware (bytes)."""

CHOSEN = "/var/lib/stagewright/firmware"
"""Folder in which dracut looks for firmware. It holds the requested files only."""

MICROCODE = ("intel-ucode", "amd-ucode")
"""Folders of microcode; dracut puts them into an uncompressed archive at the start of the initramfs."""


@dataclass(frozen=True)
class ChosenFirmware:
    """Requested firmware and microcode, as paths below /lib/firmware."""

    files: tuple[str, ...]
    microcode: tuple[str, ...]


def missing_firmware(root: Root, patterns: Sequence[str], *, microcode: bool, where: str) -> list[MissingRequirement]:
    """Return the shell patterns (below /lib/firmware) that match no file, and microcode if the root has none.

    ``where`` names the root in messages.
    """
    _, unmatched = inside(root.path, _match, list(patterns))
    hint = "install linux-firmware there, or correct the pattern"
    missing = [MissingRequirement(f"{where} has no firmware {name} in {SOURCE}", hint) for name in unmatched]
    if microcode and not _microcode(root):
        hint = "install intel-microcode and amd64-microcode, or sys-firmware/intel-microcode and linux-firmware"
        missing.append(MissingRequirement(f"{where} has no microcode in {SOURCE}", hint))
    return missing


def choose_firmware(root: Root, patterns: Sequence[str], *, microcode: bool) -> ChosenFirmware:
    """Copy the files that match shell patterns (below /lib/firmware) to the folder in which dracut looks."""
    found, _ = inside(root.path, _match, list(patterns))
    codes = _microcode(root) if microcode else []
    inside(root.path, _copy, sorted({*found, *codes}))
    return ChosenFirmware(tuple(found), tuple(codes))


def _microcode(root: Root) -> list[str]:
    return inside(root.path, _match, [f"{folder}/*" for folder in MICROCODE])[0]


def _match(patterns: list[str]) -> tuple[list[str], list[str]]:
    names = sorted(name for name in files_below(Path(os.path.realpath(SOURCE))) if is_plain(f"{SOURCE}/{name}"))
    found = {pattern: fnmatch.filter(names, pattern) for pattern in patterns}
    chosen = sorted({name for matches in found.values() for name in matches})
    return _with_targets(chosen), [pattern for pattern, matches in found.items() if not matches]


def _with_targets(names: list[str]) -> list[str]:
    """Return the names and the targets of links among them, if the targets are below /lib/firmware too."""
    real = (os.path.relpath(os.path.realpath(f"{SOURCE}/{name}"), os.path.realpath(SOURCE)) for name in names)
    return sorted({*names, *(name for name in real if not name.startswith("../"))})


def _copy(names: list[str]) -> None:
    remove_tree(Path(CHOSEN))
    Path(CHOSEN).mkdir(parents=True)
    for name in names:
        target = Path(CHOSEN, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(SOURCE, name), target, follow_symlinks=False)


def copy_firmware(root: Root, firmware: ChosenFirmware, target: Path) -> None:
    """Copy the chosen firmware, without microcode, to ``target`` outside the root."""
    wanted = set(firmware.files)
    Tree(root.path).copy_tree_out(CHOSEN.lstrip("/"), target, lambda path: not _is_wanted(path, wanted), LARGEST)


def _is_wanted(path: str, names: Collection[str]) -> bool:
    """Return True for a path that is one of the names, or a folder above one."""
    return path in names or any(name.startswith(f"{path}/") for name in names)
