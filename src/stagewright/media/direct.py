"""Kernel, initramfs and arguments of a medium, for machines that start a kernel without a boot loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.inspect import InspectedMedium, inspect
from stagewright.media.payload import INITRAMFS, KERNEL


@dataclass(frozen=True)
class DirectBoot:
    """The entry that the boot menu of a medium starts by default.

    ``kernel`` and ``initramfs`` are relative to the root of the medium. ``copies`` are files with their content.
    """

    kernel: str
    initramfs: str
    arguments: str
    copies: tuple[Path, Path]

    def on_serial(self, device: str) -> str:
        """Return the arguments with a serial port as a console; it is the last one if it was missing."""
        if any(word.partition(",")[0] == f"console={device}" for word in self.arguments.split()):
            return self.arguments
        return f"{self.arguments} console={device},115200".strip()


def direct_boot(medium: Path, work: Path) -> DirectBoot:
    """Return how the kernel of an ISO, or of a folder for network boot, is started.

    ``work`` is an empty folder for copies of the files of an ISO. Raises: BAD_ARCHIVE if there is no menu entry with a
    kernel and an initramfs that are on the medium.
    """
    found = inspect(medium, work)
    if direct := direct_boot_of(found, work / "iso" if found.kind == "iso" else medium):
        return direct
    what = f"{medium}: no boot menu entry with a kernel and an initramfs that are on the medium"
    hint = "stagewright media check shows the entries; a network set needs combined = true"
    raise StagewrightError(Reason.BAD_ARCHIVE, what, hint=hint)


def direct_boot_of(medium: InspectedMedium, tree: Path) -> DirectBoot | None:
    """Return how the kernel of a medium is started, given the folder of its files; None if no entry allows it."""
    for kernel, initramfs, arguments in _entries(medium):
        if "$" not in arguments and {kernel, initramfs} <= set(medium.files):
            return DirectBoot(kernel, initramfs, arguments, (tree / kernel, tree / initramfs))
    return None


def _entries(medium: InspectedMedium) -> Iterator[tuple[str, str, str]]:
    """Yield kernel, initramfs and arguments of the entries, the default one first.

    An ISO of Stagewright has the two at the same paths with every boot loader, also with one that joins them.
    """
    own = medium.kind == "iso" and KERNEL in medium.files and INITRAMFS in medium.files
    for entry in sorted(medium.entries, key=lambda entry: not entry.default):
        yield (KERNEL if own else entry.kernel), (INITRAMFS if own else entry.initramfs), entry.arguments
