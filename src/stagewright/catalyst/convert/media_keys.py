"""Keys of live media: the ISO, its boot menu, its files."""

from __future__ import annotations

import re
from pathlib import Path

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import plain, text
from stagewright.catalyst.convert.kernel_keys import is_dist, kernel_path
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, part_of_structure, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target

_LOADERS = {"grub": "grub-hybrid", "isolinux": "isolinux", "syslinux": "isolinux"}
"""What the name of a cdtar says of the loader."""

LIVE = {Target.LIVECD2, Target.LIVECD3}

TYPES = ("generic-livecd", "gentoo-release-minimal", "gentoo-release-livecd")

_LEVEL = {"-Xcompression-level": "level", "-b": "block_size", "-comp": "compression"}
_USER_GROUPS = ("users", "wheel", "audio", "plugdev", "games", "cdrom", "disk", "floppy", "usb")


def _type(conversion: Conversion, entry: SpecEntry) -> None:
    place = entry.word_place()
    conversion.root.put("hostname", "livecd", place)
    conversion.root.put("timezone", "UTC", place)
    if entry.text not in TYPES and not entry.text.startswith("gentoo-release-live"):
        hint = f"write one of {', '.join(TYPES)}; what they do not set, root_overlay and fsscript can"
        conversion.refuse(entry, f"there is no type {entry.text!r}", hint)
    if entry.text.startswith("gentoo-release-live"):
        conversion.root.put("users.gentoo.password", "empty", place)
        conversion.root.add("users.gentoo.groups", ((group, place) for group in _USER_GROUPS))


def _volid(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.drafts["image"].put("volume_id", text("-".join(entry.words)), entry.word_place())


def _bootargs(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.drafts["image"].add_words("kernel_arguments.extra", entry)


def _modules_off(conversion: Conversion, entry: SpecEntry) -> None:
    words = text(f"modprobe.blacklist={','.join(entry.words)}")
    conversion.drafts["image"].add("kernel_arguments.extra", [(words, entry.word_place())])


def _fstype(conversion: Conversion, entry: SpecEntry) -> None:
    if entry.text != "squashfs":
        conversion.refuse(entry, f"live media have a squashfs, not {entry.text!r}", "write squashfs")


def _fsops(conversion: Conversion, entry: SpecEntry) -> None:
    """Options of mksquashfs(1) that there is a setting for."""
    words = list(enumerate(entry.words))
    for (number, option), (_, value) in zip(words[::2], words[1::2], strict=False):
        setting = _LEVEL.get(option)
        if setting is None:
            conversion.refuse(entry, f"there is no setting for {option}", f"leave it out; {_KNOWN}", number)
            continue
        size = re.sub(r"k$", "K", value)
        found: str | int = int(value) if setting == "level" and value.isdecimal() else text(size)
        conversion.drafts["image"].put(setting, found, entry.word_place(number))
    if len(words) % 2:
        conversion.refuse(entry, f"{words[-1][1]} has no value", _KNOWN, len(words) - 1)


_KNOWN = "known are -comp, -b and -Xcompression-level, each with a value"


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
        return  # its payload, see targets.py
    found = next((loader for word, loader in _LOADERS.items() if word in Path(entry.text).name.lower()), None)
    if found:
        conversion.drafts["payload"].put("loaders", [found], entry.word_place())
        conversion.drafts["image"].put("loader", found, entry.word_place())


def _motd(conversion: Conversion, entry: SpecEntry) -> None:
    file = conversion.found(entry.text)
    try:
        conversion.root.put("motd", plain(file.read_text(errors="replace", encoding="utf-8")), entry.word_place())
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        conversion.refuse(entry, f"{file} cannot be read: {what}", "name a text file")


def _depclean(conversion: Conversion, entry: SpecEntry) -> None:
    if entry.text not in ("no", "keepbdeps"):
        conversion.refuse(entry, f"{entry.text!r} means nothing", "write no, or keepbdeps")


RULES: tuple[ConversionRule, ...] = (
    rule(
        "livecd/iso",
        KeyStatus.HONOURED,
        "the file",
        "An absolute path stays one, a name goes below builds. Without it no ISO is made.",
        part_of_structure,
    ),
    rule(
        "livecd/type",
        KeyStatus.DIFFERS,
        "hostname, timezone, users",
        "The name livecd, the time zone UTC, for gentoo-release-livecd the user gentoo without a password. Nothing is "
        "written into the files of other packages (sshd_config, sudoers, bashrc): a root_overlay does that.",
        _type,
        LIVE,
    ),
    rule(
        "*/volid",
        KeyStatus.DIFFERS,
        "volume_id",
        "Blanks become dashes, since the kernel looks for the medium by this name; with Catalyst's own default, which "
        "holds a blank, dracut does not find it.",
        _volid,
        LIVE,
    ),
    rule("*/bootargs", KeyStatus.HONOURED, "kernel_arguments.extra", "In every entry of the menu.", _bootargs, LIVE),
    rule(
        "*/modblacklist",
        KeyStatus.DIFFERS,
        "kernel_arguments.extra",
        "modprobe.blacklist= on the kernel's command line, which holds in the initramfs as well.",
        _modules_off,
        LIVE | {Target.DISKIMAGE2},
    ),
    rule("livecd/fstype", KeyStatus.HONOURED, "", "squashfs; any other is refused.", _fstype),
    rule(
        "*/fsops",
        KeyStatus.DIFFERS,
        "compression, level, block_size",
        f"{_KNOWN[:1].upper()}{_KNOWN[1:]}; other options of mksquashfs are refused.",
        _fsops,
        LIVE,
    ),
    rule(
        "livecd/cdtar",
        KeyStatus.DIFFERS,
        "loader; of livecd-stage3 boot",
        "Boot loaders come from the root that the kernel is made in; nothing of the archive is put onto the medium. "
        "One with grub in its name asks for GRUB (UEFI and BIOS), one with isolinux for that; else it is systemd-boot. "
        "Of livecd-stage3 it is the payload of a livecd-stage2 of the same run.",
        _cdtar,
    ),
    rule(
        "*/verify",
        KeyStatus.DIFFERS,
        "entries",
        "A line in the menu that checks the medium first, by whichever initramfs; any word means so.",
        _verify,
        LIVE,
    ),
    rule(
        "*/depclean",
        KeyStatus.DIFFERS,
        "depclean",
        "As in Catalyst nothing is cleaned without unmerge, or by `no`. keepbdeps keeps build dependencies.",
        _depclean,
        {Target.LIVECD2, Target.DISKIMAGE2},
    ),
    refused("livecd/overlay", "there is no setting for more files on the medium", "put them into a root_overlay"),
    refused("livecd/iso_extra_partition", "the ISO has no further partition", "leave it out"),
    rule(
        "*/motd",
        KeyStatus.DIFFERS,
        "motd",
        "The text of the file at the time when specs are read; nothing is added to it.",
        _motd,
        {Target.LIVECD2},
    ),
    refused("*/readme", "there is no setting for files on the medium", "put it into a root_overlay", {Target.LIVECD2}),
)
