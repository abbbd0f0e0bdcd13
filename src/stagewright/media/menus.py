"""Boot menus, read from the files of any boot loader on media of any origin, and known problems with their entries."""

from __future__ import annotations

import mmap
import posixpath
import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

from stagewright.media.bootmenu.entry import LONGEST_FILE, FoundEntry, Read
from stagewright.media.bootmenu.grub import read_grub
from stagewright.media.bootmenu.loader_spec import read_loader_spec
from stagewright.media.bootmenu.syslinux import read_syslinux


def read_menu(path: str, text: str, read: Read = lambda _: None) -> list[FoundEntry]:
    """Return the entries of a boot menu, or an empty list if the file is not a boot menu.

    ``read`` returns other files of the medium, which menus can include.
    """
    name = path.rpartition("/")[2].lower()
    if name == "grub.cfg":
        return read_grub(path, text, read)
    if "/pxelinux.cfg/" in f"/{path}":  # names are relative to the folder of the program, not of the menu
        return read_syslinux(path, text, read, posixpath.dirname(posixpath.dirname(path)))
    if name in ("isolinux.cfg", "syslinux.cfg", "extlinux.conf"):
        return read_syslinux(path, text, read)
    if "loader/entries/" in path and name.endswith(".conf"):
        return read_loader_spec(path, text)
    return []


def is_menu(path: str) -> bool:
    """Return True if :func:`read_menu` reads a file at this path."""
    return path.lower().endswith(("grub.cfg", "isolinux.cfg", "syslinux.cfg", "extlinux.conf")) or (
        "loader/entries/" in path or "pxelinux.cfg/" in path
    )


def unified(path: str, program: bytes | mmap.mmap) -> FoundEntry | None:
    """Return the entry of a unified kernel image, from its section .cmdline; None for another EFI program."""
    try:
        (header,) = struct.unpack_from("<I", program, 0x3C)
        magic, count, optional = struct.unpack_from("<4s2xH12xH", program, header)
        if magic != b"PE\0\0":
            return None
        for number in range(count):
            place = header + 24 + optional + 40 * number
            name, size, raw, offset = struct.unpack_from("<8sI4xII", program, place)
            if name.rstrip(b"\0") == b".cmdline":
                words = program[offset : offset + min(size, raw, LONGEST_FILE)].rstrip(b"\0").decode(errors="replace")
                return FoundEntry(path, "unified kernel image", path, (path,), words)
    except struct.error:
        pass
    return None


@dataclass(frozen=True)
class KnownProblem:
    """A problem with a command line: a test of its arguments and the volume id, and a description."""

    applies: Callable[[dict[str, str], str], bool]
    description: str


def _live(words: dict[str, str]) -> str:
    """Return the value of `root=live:...`, or "" without it."""
    return words.get("root", "").removeprefix("live:") if words.get("root", "").startswith("live:") else ""


def _label(value: str) -> str:
    r"""Return a label with its characters for ``\x20`` and others that udev writes so."""
    return re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), value)


KNOWN_PROBLEMS = (
    KnownProblem(
        lambda words, _: "root" not in words and "real_root" not in words,
        "no root=: the kernel limits the initramfs to half of the memory and truncates larger files silently",
    ),
    KnownProblem(
        lambda words, volume: _live(words).startswith("CDLABEL=") and _label(_live(words)[8:]) != volume,
        "root= has another volume id than the medium",
    ),
    KnownProblem(
        lambda words, _: _live(words).startswith("/") and not _live(words).lower().endswith((".img", ".iso")),
        "dracut ignores an image in the initramfs unless its name ends in .img or .iso",
    ),
    KnownProblem(
        lambda words, _: "setkmap" in words,
        "setkmap= has no effect: genkernel reads keymap=, dracut reads rd.vconsole.keymap=",
    ),
    KnownProblem(
        lambda words, _: "cdroot" in words and "looptype" not in words and not _live(words),
        "cdroot without looptype= and loop=: genkernel's initramfs does not find the image",
    ),
)
"""Measured, or found in the sources of dracut and genkernel."""


OTHER_LIVE_SYSTEMS = {
    "archiso": re.compile(r"\barchiso\w*="),
    "live-boot": re.compile(r"\bboot=live\b"),
    "casper": re.compile(r"\bboot=casper\b|^/?casper/"),
}
"""Live systems by other programs than dracut and genkernel, by the kernel and arguments of their menu entries."""


def other_live_system(entry: FoundEntry) -> str:
    """Return the name of a live system that reads other arguments than dracut's and genkernel's; "" for these two."""
    text = f"{entry.kernel} {entry.arguments}"
    return next((name for name, pattern in OTHER_LIVE_SYSTEMS.items() if pattern.search(text)), "")


def problems_of(entry: FoundEntry, volume_id: str, files: Collection[str]) -> list[str]:
    """Return the problems of an entry: known ones, and files that are not on the medium.

    An entry without an initramfs, such as a memory test, is not checked: it may be for other firmware than the
    medium's. Of other live systems only the files are checked.
    """
    if not entry.initrds:
        return []
    words = arguments_of(entry)
    known = () if other_live_system(entry) else KNOWN_PROBLEMS
    found = [problem.description for problem in known if problem.applies(words, volume_id)]
    found += missing_files(entry, files, "the medium")
    image = words.get("rd.live.squashimg") or words.get("loop", "").lstrip("/")
    folder = words.get("rd.live.dir", "").strip("/")
    place = f"{folder}/{image}".lstrip("/")
    inside = place.removesuffix(".img") in files  # a set for network boot renames it inside the initramfs
    if image and "/" not in image and place not in files and not inside and _live(words)[:4] != "http":
        found.append(f"{image} is not on the medium")
    return found


def arguments_of(entry: FoundEntry) -> dict[str, str]:
    """Return the kernel arguments of an entry: values by name, the last one if a name is there twice."""
    split = re.findall(r'(?:[^\s"]|"[^"]*"?)+', entry.arguments)  # the kernel knows double quotes only (lib/cmdline.c)
    return {name: value for name, _, value in (word.replace('"', "").partition("=") for word in split)}


def missing_files(entry: FoundEntry, files: Collection[str], place: str) -> list[str]:
    """Return a problem for each file that an entry names and that is missing. ``place`` is where files can be."""
    lower = {name.lower() for name in files}
    names = dict.fromkeys((entry.kernel, *entry.initrds))
    return [f"{name} is not on {place}" for name in names if name.lower() not in lower]
