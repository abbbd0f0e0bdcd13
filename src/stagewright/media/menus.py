"""Boot menus, read from the files of any boot loader on media of any origin, and known problems with their entries."""

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
class FoundEntry:
    """An entry of a boot menu on a medium: its file, title, kernel, initramfs, arguments, and known problems."""

    file: str
    title: str
    kernel: str
    initramfs: str
    arguments: str
    traps: tuple[str, ...] = ()


def read_menu(path: str, text: str) -> list[FoundEntry]:
    """Return the entries of a boot menu, or an empty list if the file is not a boot menu."""
    name = path.rpartition("/")[2]
    if name == "grub.cfg":
        return list(_grub(path, text))
    if name in ("isolinux.cfg", "syslinux.cfg") or "/pxelinux.cfg/" in f"/{path}":
        return list(_syslinux(path, text))
    if "loader/entries/" in path and name.endswith(".conf"):
        return list(_systemd(path, text))
    return []


def is_menu(path: str) -> bool:
    """Return True if :func:`read_menu` reads a file at this path."""
    return path.endswith(("grub.cfg", "isolinux.cfg", "syslinux.cfg")) or (
        "loader/entries/" in path or "pxelinux.cfg/" in path
    )


def _grub(path: str, text: str) -> Iterator[FoundEntry]:
    for entry in _GRUB_ENTRY.finditer(text):
        kernel = _GRUB_KERNEL.search(entry["body"])
        if kernel:
            initrd = _GRUB_INITRD.search(entry["body"])
            title = entry["double"] or entry["single"] or entry["bare"]
            yield FoundEntry(path, title, _plain(kernel[1]), _plain(initrd[1]) if initrd else "", kernel[2].strip())


def _plain(path: str) -> str:
    """Return a path without the device or variable in front, as in ``$base/boot/gentoo``."""
    return re.sub(r"^(?:\(\S*?\)|\$\w+|\$\{\w+\})", "", path).lstrip("/")


def _syslinux(path: str, text: str) -> Iterator[FoundEntry]:
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
            yield FoundEntry(path, entry["title"], kernel.lstrip("/"), initrd.lstrip("/"), rest)


def _systemd(path: str, text: str) -> Iterator[FoundEntry]:
    pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    values = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if "linux" in values:
        names = values["linux"].lstrip("/"), values.get("initrd", "").lstrip("/")
        yield FoundEntry(path, values.get("title", path), *names, values.get("options", ""))


def unified(path: str, program: bytes) -> FoundEntry | None:
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
                words = program[offset : offset + min(size, raw)].rstrip(b"\0").decode(errors="replace")
                return FoundEntry(path, "unified kernel image", path, path, words)
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


KNOWN_PROBLEMS = (
    KnownProblem(
        lambda words, _: "root" not in words and "real_root" not in words,
        "no root=: the kernel limits the initramfs to half of the memory and truncates larger files silently",
    ),
    KnownProblem(
        lambda words, volume: _live(words).startswith("CDLABEL=") and _live(words)[8:] != volume,
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


def problems_of(entry: FoundEntry, volume_id: str, files: Collection[str]) -> list[str]:
    """Return the problems of an entry: known ones, and files that are not on the medium."""
    try:
        split = shlex.split(entry.arguments)
    except ValueError:
        split = entry.arguments.split()
    words = {name: value for name, _, value in (word.partition("=") for word in split)}
    found = [problem.description for problem in KNOWN_PROBLEMS if problem.applies(words, volume_id)]
    lower = {name.lower() for name in files}
    missing = [name for name in dict.fromkeys((entry.kernel, entry.initramfs)) if name and name.lower() not in lower]
    found += [f"{name} is not on the medium" for name in missing]
    image = words.get("rd.live.squashimg") or words.get("loop", "").lstrip("/")
    folder = words.get("rd.live.dir", "").strip("/")
    place = f"{folder}/{image}".lstrip("/")
    inside = place.removesuffix(".img") in files  # a set for network boot renames it inside the initramfs
    if image and "/" not in image and place not in files and not inside and _live(words)[:4] != "http":
        found.append(f"{image} is not on the medium")
    return found
