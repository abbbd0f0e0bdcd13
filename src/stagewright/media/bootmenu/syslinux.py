"""The entries of SYSLINUX's menus: ISOLINUX, PXELINUX and EXTLINUX read the same language.

Documented by the SYSLINUX project in ``doc/syslinux.txt`` and ``doc/menu.txt``. Keywords are case-insensitive. Names
are relative to the folder of the menu file, unless they start with ``/``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from stagewright.media.bootmenu.entry import (
    DEEPEST_INCLUDE,
    LONGEST_FILE,
    LONGEST_MENU,
    MOST_ENTRIES,
    FoundEntry,
    Read,
    medium_path,
)

NOT_LINUX = (".c32", ".com", ".cbt", ".0", ".bin", ".bss", ".bs")
"""Endings of programs that SYSLINUX starts in another way than Linux."""


def read_syslinux(path: str, text: str, read: Read, root: str | None = None) -> list[FoundEntry]:
    """Return the entries of a menu file. ``read`` returns included files; ``root`` is the folder of relative names."""
    menu = _Menu(path, posixpath.dirname(path) if root is None else root, read)
    menu.file(text, 0)
    return list(menu.entries())


@dataclass
class _Label:
    name: str
    title: str = ""
    kernel: str = ""
    initrds: tuple[str, ...] = ()
    arguments: str | None = None  # None: those of the whole menu
    marked: bool = False


@dataclass
class _Menu:
    path: str
    folder: str
    read: Read
    labels: list[_Label] = field(default_factory=list)
    arguments: str = ""
    default: str = ""
    characters: int = LONGEST_MENU

    def file(self, text: str, depth: int) -> None:
        """Read a file and those that it includes."""
        is_help = False
        text = text[: min(LONGEST_FILE, self.characters)]
        self.characters -= len(text)
        for line in text.splitlines():
            keyword, _, value = line.strip().partition(" ")
            keyword, value = keyword.partition("\t")[0].lower(), (line.strip()[len(keyword) :]).strip()
            if is_help or f"{keyword} {value}".lower() == "text help":
                is_help = keyword != "endtext"
            elif keyword == "menu":
                self._menu(value, depth)
            elif keyword == "include":
                self._include(value, depth)
            elif len(self.labels) < MOST_ENTRIES or keyword != "label":
                self._setting(keyword, value)

    def entries(self) -> Iterator[FoundEntry]:
        """Yield the labels that start Linux."""
        chosen = next((one for one in self.labels if one.marked), None)
        chosen = chosen or next((one for one in self.labels if one.name == self.default), None)
        for label in self.labels:
            arguments = (label.arguments if label.arguments is not None else self.arguments).split()
            initrds = label.initrds or tuple(
                name for word in arguments if word.startswith("initrd=") for name in word[7:].split(",")
            )
            if label.kernel and not label.kernel.lower().endswith(NOT_LINUX):
                rest = " ".join(word for word in arguments if not word.startswith("initrd="))
                kernel, *files = (medium_path(name, self.folder) for name in (label.kernel, *initrds))
                entry = FoundEntry(self.path, label.title or label.name, kernel, tuple(files), rest)
                yield replace(entry, default=label is chosen)

    def _setting(self, keyword: str, value: str) -> None:
        label = self.labels[-1] if self.labels else None
        if keyword == "label":
            self.labels.append(_Label(value))
        elif keyword in ("default", "ontimeout") and not self.default:
            self.default = value
        elif keyword == "append":
            plain = "" if value == "-" else value
            if label:
                label.arguments = plain
            else:
                self.arguments = plain
        elif label and keyword in ("kernel", "linux"):
            label.kernel, _, arguments = value.partition(" ")
            label.arguments = arguments.strip() or label.arguments
        elif label and keyword == "initrd":
            label.initrds = tuple(name for name in value.split(",") if name)

    def _menu(self, value: str, depth: int) -> None:
        word, _, rest = value.partition(" ")
        label = self.labels[-1] if self.labels else None
        if label and word.lower() == "label":
            label.title = rest.strip().replace("^", "")
        elif label and word.lower() == "default":
            label.marked = True
        elif word.lower() == "include":
            self._include(rest.strip(), depth)

    def _include(self, value: str, depth: int) -> None:
        name = medium_path(value.split(maxsplit=1)[0], self.folder) if value else ""
        if name and depth < DEEPEST_INCLUDE and (text := self.read(name)) is not None:
            self.file(text, depth + 1)
