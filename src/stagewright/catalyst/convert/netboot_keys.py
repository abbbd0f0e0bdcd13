"""Keys of netboot: what its initramfs holds."""

from __future__ import annotations

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import text
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target

NETBOOT = {Target.NETBOOT}


def _files(conversion: Conversion, entry: SpecEntry) -> None:
    """Catalyst copies from the root's first folder, so that a path without a slash starts there too."""
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
        "Paths and shell patterns, without braces; links stay links, and libraries must be listed too, as in Catalyst. "
        "What the root has not is an error, and so is anything below /dev, /proc, /run and /tmp.",
        _files,
    ),
    rule(
        "netboot/overlay",
        KeyStatus.DIFFERS,
        "overlay",
        "Copied over the listed files in order, owned by root. One that is not there is an error.",
        _overlay,
    ),
    rule(
        "boot/kernel/<kernel>/initramfs_overlay",
        KeyStatus.DIFFERS,
        "overlay",
        "All kernels of a spec share one image, and it gets these folders too.",
        _overlay,
        NETBOOT,
    ),
    rule("netboot/busybox_config", KeyStatus.HONOURED, "busybox_config", "--busybox-config of genkernel.", _file),
    rule("*/linuxrc", KeyStatus.HONOURED, "linuxrc", "--linuxrc of genkernel.", _file, NETBOOT),
    refused(
        "boot/kernel/<kernel>/packages",
        "what is built after a kernel comes too late for its initramfs, which is the whole system",
        "list packages in netboot/packages",
        NETBOOT,
    ),
    refused(
        "boot/kernel/<kernel>/dracut_args", "genkernel makes the initramfs of this kernel", "leave it out", NETBOOT
    ),
)
"""Of netboot; what it shares with others is in their tables."""
