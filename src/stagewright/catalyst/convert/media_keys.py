"""Rules for the keys of live media: the ISO, its boot menu, its files."""

from __future__ import annotations

import re
from pathlib import Path

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import plain, text
from stagewright.catalyst.convert.kernel_keys import is_dist, kernel_path
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, part_of_structure, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target
from stagewright.catalyst.tokens import TOKEN

_LOADERS = {"grub": "grub-hybrid", "isolinux": "isolinux", "syslinux": "isolinux"}
"""Boot loaders by a word in the name of the cdtar."""

_VOLID = 32
"""The largest number of characters in the volume id of an ISO."""

_STAMPS = {"@TIMESTAMP@": len("20260628T164555Z"), "@DATESTAMP@": len("20260628")}
"""Number of characters of tokens after they are replaced."""

LIVE = {Target.LIVECD2, Target.LIVECD3}

TYPES = ("generic-livecd", "gentoo-release-minimal", "gentoo-release-livecd")

_SQUASHFS = {
    "-Xcompression-level": "level",  # of mksquashfs(1)
    "-comp": "compression",
    "-X": "level",  # of gensquashfs(1), which Catalyst runs: `-X level=19`
    "--comp-extra": "level",
    "-c": "compression",
    "--compressor": "compression",
    "-b": "block_size",  # of both
    "--block-size": "block_size",
}
"""Settings of a squashfs by the options of its program."""

_USER_GROUPS = ("users", "wheel", "audio", "plugdev", "games", "cdrom", "disk", "floppy", "usb")


def _type(conversion: Conversion, entry: SpecEntry) -> None:
    place = entry.word_place()
    conversion.root.put("hostname", "livecd", place)
    conversion.root.put("timezone", "UTC", place)
    if entry.text not in TYPES and not entry.text.startswith("gentoo-release-live"):
        hint = f"write one of {', '.join(TYPES)}; use root_overlay and fsscript for other settings"
        conversion.refuse(entry, f"unknown type {entry.text!r}", hint)
    if entry.text.startswith("gentoo-release-live"):
        conversion.root.put("users.gentoo.password", "empty", place)
        conversion.root.add("users.gentoo.groups", ((group, place) for group in _USER_GROUPS))


def _volid(conversion: Conversion, entry: SpecEntry) -> None:
    words = " ".join(entry.words)
    kept = _cut(words)
    if kept != words:
        conversion.notice(entry.word_place(), f"{entry.key}: cut to {_VOLID} characters, as in Catalyst: {kept!r}")
    conversion.drafts["image"].put("volume_id", text(kept), entry.word_place())


def _cut(words: str) -> str:
    """Return the first characters of a volume id. A token that no longer fits is left out, with all that follows."""
    kept, room = "", _VOLID
    for part in re.split(rf"({TOKEN.pattern.replace('(', '(?:')})", words):
        length = _STAMPS.get(part, len(part))
        if length > room:
            return f"{kept}{'' if part in _STAMPS else part[:room]}".rstrip()
        kept, room = kept + part, room - length
    return kept


def _bootargs(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.drafts["image"].add_words("kernel_arguments.extra", entry)


def _modules_off(conversion: Conversion, entry: SpecEntry) -> None:
    words = text(f"modprobe.blacklist={','.join(entry.words)}")
    conversion.drafts["image"].add("kernel_arguments.extra", [(words, entry.word_place())])


def _fstype(conversion: Conversion, entry: SpecEntry) -> None:
    if entry.text != "squashfs":
        conversion.refuse(entry, f"live media must have a squashfs (found {entry.text!r})", "write squashfs")


def _fsops(conversion: Conversion, entry: SpecEntry) -> None:
    """Convert the supported options of gensquashfs(1), and those of mksquashfs(1) that older Catalysts run."""
    words = list(enumerate(entry.words))
    for (number, option), (_, value) in zip(words[::2], words[1::2], strict=False):
        setting = _SQUASHFS.get(option)
        if setting is None:
            conversion.refuse(entry, f"option {option} is not supported", f"remove it; {_KNOWN}", number)
            continue
        level = value.removeprefix("level=") if setting == "level" else ""
        found: str | int = int(level) if level.isdecimal() else text(re.sub(r"k$", "K", value))
        conversion.drafts["image"].put(setting, found, entry.word_place(number))
    if len(words) % 2:
        conversion.refuse(entry, f"{words[-1][1]} has no value", _KNOWN, len(words) - 1)


_KNOWN = "supported are -c, -b and -X level=N of gensquashfs, and mksquashfs's -comp and -Xcompression-level"


def _verify(conversion: Conversion, entry: SpecEntry) -> None:
    image = conversion.drafts["image"]
    image.add("entries", [("verify", entry.word_place())])
    if conversion.target is Target.LIVECD2:
        for label in conversion.spec.words("boot/kernel"):
            if not is_dist(conversion, label) and "." not in label:
                path = f"{kernel_path(conversion, label)}.genkernel_arguments"
                conversion.drafts["payload"].add(path, [("--b2sum", entry.word_place())])


def _cdtar(conversion: Conversion, entry: SpecEntry) -> None:
    if conversion.target is Target.LIVECD3:
        return  # names the payload, see target_entries.py
    found = next((loader for word, loader in _LOADERS.items() if word in Path(entry.text).name.lower()), None)
    if found:
        conversion.drafts["payload"].put("loaders", [found], entry.word_place())
        conversion.drafts["image"].put("loader", found, entry.word_place())
        _theme(conversion, entry)


def _theme(conversion: Conversion, entry: SpecEntry) -> None:
    """Use the theme in an archive for GRUB that is named after it."""
    file = conversion.found(entry.text)
    if "theme" not in file.name.lower() or not conversion.drafts["image"].data["loader"].startswith("grub"):
        return
    if file.is_file():
        conversion.drafts["image"].put("theme", conversion.file(entry.text), entry.word_place())
    else:
        conversion.notice(entry.word_place(), f"{entry.key}: {file} not found, so the boot menu has no theme")


def _motd(conversion: Conversion, entry: SpecEntry) -> None:
    file = conversion.found(entry.text)
    try:
        conversion.root.put("motd", plain(file.read_text(errors="replace", encoding="utf-8")), entry.word_place())
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        conversion.refuse(entry, f"{file} cannot be read: {what}", "name a text file")


def _depclean(conversion: Conversion, entry: SpecEntry) -> None:
    if entry.text not in ("no", "keepbdeps"):
        conversion.refuse(entry, f"must be no or keepbdeps (found {entry.text!r})", "write no, or keepbdeps")


RULES: tuple[ConversionRule, ...] = (
    rule(
        "livecd/iso",
        KeyStatus.HONOURED,
        "the file",
        "An absolute path, or a name below builds. Without this key no ISO is made.",
        part_of_structure,
    ),
    rule(
        "livecd/type",
        KeyStatus.DIFFERS,
        "hostname, timezone, users",
        "Host name livecd, time zone UTC, for gentoo-release-livecd the user gentoo without a password. The files of "
        "packages (sshd_config, sudoers, bashrc) are not changed: use a root_overlay.",
        _type,
        LIVE,
    ),
    rule(
        "*/volid",
        KeyStatus.HONOURED,
        "volume_id",
        "Kernel arguments name it as udev does, with \\x20 for a space. Several words are cut to 32 characters, with a "
        "note.",
        _volid,
        LIVE,
    ),
    rule(
        "*/bootargs", KeyStatus.HONOURED, "kernel_arguments.extra", "Added to every entry of the menu.", _bootargs, LIVE
    ),
    rule(
        "*/modblacklist",
        KeyStatus.DIFFERS,
        "kernel_arguments.extra",
        "modprobe.blacklist= on the kernel's command line, which also applies in the initramfs.",
        _modules_off,
        LIVE | {Target.DISKIMAGE2},
    ),
    rule("livecd/fstype", KeyStatus.HONOURED, "", "squashfs. Other file systems are refused.", _fstype),
    rule(
        "*/fsops",
        KeyStatus.DIFFERS,
        "compression, level, block_size",
        f"{_KNOWN[:1].upper()}{_KNOWN[1:]}. Others are refused.",
        _fsops,
        LIVE,
    ),
    rule(
        "livecd/cdtar",
        KeyStatus.DIFFERS,
        "loader; of livecd-stage3 boot",
        "Boot loaders come from the root of the kernel; of the archive's files only a theme for GRUB is used. The name "
        "selects the loader: GRUB (UEFI and BIOS) if it contains grub, ISOLINUX if it contains isolinux, otherwise "
        "systemd-boot. With theme in the name, the folder with theme.txt is the theme of GRUB's menu. "
        "For livecd-stage3 it names the payload of a livecd-stage2 of the same run.",
        _cdtar,
    ),
    rule(
        "*/verify",
        KeyStatus.DIFFERS,
        "entries",
        "A line in the menu that checks the medium before the start, with every kind of initramfs. Any word enables "
        "it.",
        _verify,
        LIVE,
    ),
    rule(
        "*/depclean",
        KeyStatus.DIFFERS,
        "depclean",
        "As in Catalyst, no packages are cleaned without unmerge or with `no`. keepbdeps keeps build dependencies.",
        _depclean,
        {Target.LIVECD2, Target.DISKIMAGE2},
    ),
    refused("livecd/overlay", "additional files on the medium are not supported", "put them into a root_overlay"),
    refused("livecd/iso_extra_partition", "additional partitions are not supported", "remove it"),
    rule(
        "*/motd",
        KeyStatus.DIFFERS,
        "motd",
        "The text of the file, read together with the spec. Nothing is added to it.",
        _motd,
        {Target.LIVECD2},
    ),
    refused(
        "*/readme", "additional files on the medium are not supported", "put it into a root_overlay", {Target.LIVECD2}
    ),
)
