"""Boot menus read back from the files of any loader, ours or an official medium's; and what is known to go wrong."""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

_GRUB_ENTRY = re.compile(
    r"^[ \t]*menuentry[ \t]+(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>\S+))[^\n{]*"
    r"\{(?P<body>.*?)^[ \t]*\}",
    re.DOTALL | re.MULTILINE,
)
_GRUB_KERNEL = re.compile(r"^[ \t]*linux(?:efi)?[ \t]+(\S+)[ \t]*(.*)$", re.MULTILINE)
_GRUB_INITRD = re.compile(r"^[ \t]*initrd(?:efi)?[ \t]+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """One line of a boot menu as found: in which file, under which title, what it starts and with which arguments."""

    file: str
    title: str
    kernel: str
    initramfs: str
    arguments: str


def read_menu(path: str, text: str) -> list[Line]:
    """The lines of a boot menu; none for a file of another kind."""
    name = path.rpartition("/")[2]
    if name == "grub.cfg":
        return list(_grub(path, text))
    if name in ("isolinux.cfg", "syslinux.cfg") or "/pxelinux.cfg/" in f"/{path}":
        return list(_syslinux(path, text))
    if "loader/entries/" in path and name.endswith(".conf"):
        return list(_systemd(path, text))
    return []


def is_menu(path: str) -> bool:
    """Whether a file is one that :func:`read_menu` reads."""
    return path.endswith(("grub.cfg", "isolinux.cfg", "syslinux.cfg")) or (
        "loader/entries/" in path or "pxelinux.cfg/" in path
    )


def _grub(path: str, text: str) -> Iterator[Line]:
    for entry in _GRUB_ENTRY.finditer(text):
        kernel = _GRUB_KERNEL.search(entry["body"])
        if kernel:
            initrd = _GRUB_INITRD.search(entry["body"])
            title = entry["double"] or entry["single"] or entry["bare"]
            yield Line(path, title, _plain(kernel[1]), _plain(initrd[1]) if initrd else "", kernel[2].strip())


def _plain(path: str) -> str:
    """A path without the device or folder that GRUB finds out by itself, as in ``$base/boot/gentoo``."""
    return re.sub(r"^(?:\(\S*?\)|\$\w+|\$\{\w+\})", "", path).lstrip("/")


def _syslinux(path: str, text: str) -> Iterator[Line]:
    entries: list[dict[str, str]] = []
    for line in text.splitlines():
        words = line.strip().split(maxsplit=1)
        if len(words) != 2:
            continue
        key, value = words[0].lower(), words[1]
        if key == "label":
            entries.append({"title": value})
        elif entries and key in ("kernel", "linux", "initrd", "append"):
            entries[-1][key] = value
        elif entries and line.strip().lower().startswith("menu label "):
            entries[-1]["title"] = line.strip()[len("menu label ") :].replace("^", "")
    for entry in entries:
        kernel, arguments = entry.get("linux", entry.get("kernel", "")), entry.get("append", "")
        words = arguments.split()
        initrd = entry.get("initrd") or next((word[7:] for word in words if word.startswith("initrd=")), "")
        rest = " ".join(word for word in words if not word.startswith("initrd="))
        if kernel and initrd:
            yield Line(path, entry["title"], kernel.lstrip("/"), initrd.lstrip("/"), rest)


def _systemd(path: str, text: str) -> Iterator[Line]:
    pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    values = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if "linux" in values:
        names = values["linux"].lstrip("/"), values.get("initrd", "").lstrip("/")
        yield Line(path, values.get("title", path), *names, values.get("options", ""))


def unified(path: str, program: bytes) -> Line | None:
    """The line that a unified kernel image is, from its section .cmdline; None for another EFI program."""
    try:
        (header,) = struct.unpack_from("<I", program, 0x3C)
        magic, count, optional = struct.unpack_from("<4s2xH12xH", program, header)
        if magic != b"PE\0\0":
            return None
        for number in range(count):
            place = header + 24 + optional + 40 * number
            name, size, raw, offset = struct.unpack_from("<8sI4xII", program, place)
            if name.rstrip(b"\0") == b".cmdline":
                words = program[offset : offset + min(size, raw)].rstrip(b"\0").decode(errors="replace")
                return Line(path, "unified kernel image", path, path, words)
    except struct.error:
        pass
    return None


@dataclass(frozen=True)
class Trap:
    """Something on a command line that is known to end badly: which lines it is on, and what happens."""

    applies: Callable[[dict[str, str], str], bool]
    words: str


def _live(words: dict[str, str]) -> str:
    return words.get("root", "").removeprefix("live:") if words.get("root", "").startswith("live:") else ""


TRAPS = (
    Trap(
        lambda words, _: "root" not in words and "real_root" not in words,
        "no root=: with a large initramfs half of the memory is too little, and files are cut off silently",
    ),
    Trap(
        lambda words, volume: _live(words).startswith("CDLABEL=") and _live(words)[8:] != volume,
        "root= names another volume id than the medium has",
    ),
    Trap(
        lambda words, _: _live(words).startswith("/") and not _live(words).lower().endswith((".img", ".iso")),
        "dracut takes a file in the initramfs only if its name ends in .img or .iso",
    ),
    Trap(
        lambda words, _: "setkmap" in words,
        "setkmap= does nothing: keymap= is genkernel's, rd.vconsole.keymap= dracut's",
    ),
    Trap(
        lambda words, _: "cdroot" in words and "looptype" not in words and not _live(words),
        "cdroot without looptype= and loop=: genkernel's initramfs does not know which image to use",
    ),
)
"""Measured, or read in the sources of dracut and genkernel (K and N numbers of the tests)."""


def traps_of(line: Line, volume_id: str, files: Collection[str]) -> list[str]:
    """What is wrong with a line: known traps, and files that are not on the medium."""
    try:
        split = shlex.split(line.arguments)
    except ValueError:
        split = line.arguments.split()
    words = {name: value for name, _, value in (word.partition("=") for word in split)}
    found = [trap.words for trap in TRAPS if trap.applies(words, volume_id)]
    lower = {name.lower() for name in files}
    missing = [name for name in dict.fromkeys((line.kernel, line.initramfs)) if name and name.lower() not in lower]
    found += [f"{name} is not on the medium" for name in missing]
    image = words.get("rd.live.squashimg") or words.get("loop", "").lstrip("/")
    folder = words.get("rd.live.dir", "").strip("/")
    place = f"{folder}/{image}".lstrip("/")
    inside = place.removesuffix(".img") in files  # of a set for network boot: in the initramfs it has another name
    if image and "/" not in image and place not in files and not inside and _live(words)[:4] != "http":
        found.append(f"{image} is not on the medium")
    return found
