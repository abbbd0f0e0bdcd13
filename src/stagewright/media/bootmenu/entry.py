"""One entry of a boot menu, whatever loader it is for."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass

Read = Callable[[str], str | None]
"""Return the text of another file of the medium by its path, or None if it does not exist."""

LONGEST_FILE = 1 << 18
"""Characters of a menu file that are read; real menus are far smaller."""

LONGEST_MENU = 1 << 19
"""Characters of all files of a menu together; a file that is included twice counts twice."""

MOST_ENTRIES = 1000
"""Entries that one file may contribute."""

DEEPEST_INCLUDE = 8
"""How far files may include each other."""


@dataclass(frozen=True)
class FoundEntry:
    """One entry of a boot menu.

    Paths are relative to the root of the medium. ``initrds`` are all files that the loader passes to the kernel, in
    the loader's order: microcode often comes first. Words of ``arguments`` with a ``$`` contain a variable that only
    the running loader knows.
    """

    file: str
    title: str
    kernel: str
    initrds: tuple[str, ...]
    arguments: str
    default: bool = False  # True if the loader starts this entry after its time-out
    traps: tuple[str, ...] = ()  # known problems, see media/menus.py

    @property
    def initramfs(self) -> str:
        """The last of the initrds, which holds the programs; "" if there is none."""
        return self.initrds[-1] if self.initrds else ""


def medium_path(name: str, folder: str = "") -> str:
    """Return a path from the root of the medium, without device; a relative one starts in ``folder``."""
    path = posixpath.normpath(posixpath.join("/", folder, name.replace("\\", "/")))
    return path.lstrip("/")
