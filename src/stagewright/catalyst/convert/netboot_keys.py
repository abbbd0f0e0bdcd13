"""Rules for the keys of netboot."""

from __future__ import annotations

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import text
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target

NETBOOT = {Target.NETBOOT}


def _files(conversion: Conversion, entry: SpecEntry) -> None:
    """Add files of the root. Catalyst copies from the top of the root, so a path without a slash also starts there."""
    words = enumerate(entry.words)
    conversion.main.add("files", ((text(f"/{word.lstrip('/')}"), entry.word_place(number)) for number, word in words))


def _overlay(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.add_files(conversion.main, "overlay", entry)


def _file(conversion: Conversion, entry: SpecEntry) -> None:
    name = entry.key.rpartition("/")[2]
    conversion.main.put(name, conversion.file(entry.text), entry.word_place())


RULES: tuple[ConversionRule, ...] = (
    rule(
        "netboot/packages/<package>/files netboot/extra_files",
        KeyStatus.DIFFERS,
        "files",
        "Paths and shell patterns without braces. As in Catalyst, links stay links and libraries must be listed. "
        "Missing files and files below /dev, /proc, /run and /tmp are errors.",
        _files,
    ),
    rule(
        "netboot/overlay",
        KeyStatus.DIFFERS,
        "overlay",
        "Copied over the listed files in order, owned by root. A missing folder is an error.",
        _overlay,
    ),
    rule(
        "boot/kernel/<kernel>/initramfs_overlay",
        KeyStatus.DIFFERS,
        "overlay",
        "All kernels of a spec share one image, which also gets these folders.",
        _overlay,
        NETBOOT,
    ),
    rule("netboot/busybox_config", KeyStatus.HONOURED, "busybox_config", "--busybox-config of genkernel.", _file),
    rule("*/linuxrc", KeyStatus.HONOURED, "linuxrc", "--linuxrc of genkernel.", _file, NETBOOT),
    refused(
        "boot/kernel/<kernel>/packages",
        "packages built after a kernel cannot be in its initramfs, which is the whole system",
        "list packages in netboot/packages",
        NETBOOT,
    ),
    refused("boot/kernel/<kernel>/dracut_args", "genkernel makes the initramfs of this kernel", "remove it", NETBOOT),
)
"""Rules for netboot only. The modules of other keys have the rules that netboot shares."""
