"""Keys of netboot: what its initramfs holds."""

from __future__ import annotations

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.row import Row, Status, refused, row
from stagewright.catalyst.convert.sheet import text
from stagewright.catalyst.keys import Target
from stagewright.catalyst.spec import Entry

NETBOOT = {Target.NETBOOT}


def _files(conversion: Conversion, entry: Entry) -> None:
    """Catalyst copies from the root's first folder, so that a path without a slash starts there too."""
    words = enumerate(entry.words)
    conversion.main.add("files", ((text(f"/{word.lstrip('/')}"), entry.word_place(number)) for number, word in words))


def _overlay(conversion: Conversion, entry: Entry) -> None:
    conversion.add_files(conversion.main, "overlay", entry)


def _file(conversion: Conversion, entry: Entry) -> None:
    name = entry.key.rpartition("/")[2]
    conversion.main.put(name, conversion.file(entry.text), entry.word_place())


ROWS: tuple[Row, ...] = (
    row(
        "netboot/packages/<package>/files netboot/extra_files",
        Status.DIFFERS,
        "files",
        "Paths and shell patterns, without braces; links stay links, and libraries must be listed too, as in Catalyst. "
        "What the root has not is an error, and so is anything below /dev, /proc, /run and /tmp.",
        _files,
    ),
    row(
        "netboot/overlay",
        Status.DIFFERS,
        "overlay",
        "Copied over the listed files in order, owned by root. One that is not there is an error.",
        _overlay,
    ),
    row(
        "boot/kernel/<kernel>/initramfs_overlay",
        Status.DIFFERS,
        "overlay",
        "All kernels of a spec share one image, and it gets these folders too.",
        _overlay,
        NETBOOT,
    ),
    row("netboot/busybox_config", Status.HONOURED, "busybox_config", "--busybox-config of genkernel.", _file),
    row("*/linuxrc", Status.HONOURED, "linuxrc", "--linuxrc of genkernel.", _file, NETBOOT),
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
