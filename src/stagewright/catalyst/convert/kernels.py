"""Keys of kernels: which are built, and how."""

from __future__ import annotations

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.row import Row, Status, refused, row
from stagewright.catalyst.convert.sheet import text
from stagewright.catalyst.keys import Target
from stagewright.catalyst.spec import Entry

MEDIA = {Target.LIVECD2, Target.DISKIMAGE2}

DIST = "sys-kernel/gentoo-kernel"

_ADD = {"-a": "modules", "--add": "modules", "-o": "omit", "--omit": "omit"}


def _kernels(conversion: Conversion, entry: Entry) -> None:
    if conversion.target is Target.LIVECD3:
        return  # its payload has them
    for number, label in enumerate(entry.words):
        if number:
            conversion.refuse(entry, f"{label} would be a second kernel", "make a spec for each kernel", number)
        elif conversion.target in MEDIA and not is_dist(conversion, label):
            hint = f"write boot/kernel/{label}/distkernel: yes"
            conversion.refuse(entry, f"{label} is built by genkernel, which there is no setting for", hint, number)


def is_dist(conversion: Conversion, label: str) -> bool:
    """Whether a kernel is one of the distribution."""
    return conversion.spec.text(f"boot/kernel/{label}/distkernel") == "yes"


def _sources(conversion: Conversion, entry: Entry) -> None:
    atom = entry.text if "/" in entry.text else f"sys-kernel/{entry.text}"
    if conversion.target is Target.STAGE4:
        if "gentoo-kernel" not in atom and "vanilla-kernel" not in atom:
            hint = f"name a package that installs a kernel, such as {DIST}"
            conversion.refuse(entry, f"{atom} brings sources, and nothing builds them in a stage4", hint)
        conversion.main.put("kernel.package", text(atom), entry.word_place())
    else:
        conversion.sheets["payload"].put("kernel.package", text(atom), entry.word_place())


def _dist(conversion: Conversion, entry: Entry) -> None:
    payload = conversion.sheets["payload"]
    if entry.text == "yes" and "kernel" not in payload.data:
        payload.put("kernel.package", DIST, entry.word_place())


def _dracut(conversion: Conversion, entry: Entry) -> None:
    payload = conversion.sheets["payload"]
    place = entry.word_place()
    payload.put("initramfs.modules", [], place)
    number = 0
    while number < len(entry.words):
        word = entry.words[number]
        if word in _ADD and number + 1 < len(entry.words):
            number += 1
            payload.add(f"initramfs.{_ADD[word]}", [(text(entry.words[number].strip("'\"")), entry.word_place(number))])
        else:
            payload.add("initramfs.arguments", [(text(word), entry.word_place(number))])
        number += 1


def _packages(conversion: Conversion, entry: Entry) -> None:
    skip = False
    for number, word in enumerate(entry.words):
        if skip or word in ("--usepkg", "--usepkg=n"):
            skip = word == "--usepkg" and not skip
            continue
        if word.startswith("-"):
            conversion.refuse(entry, f"{word} is an option for emerge", "list packages only", number)
            continue
        if atom := conversion.atom(word, entry, number):
            sheet = conversion.sheets.get("payload") or conversion.main
            sheet.add("packages", [(atom, entry.word_place(number))])


_GENKERNEL = "genkernel has no setting"

ROWS: tuple[Row, ...] = (
    row(
        "boot/kernel",
        Status.DIFFERS,
        "the payload: kernel, initramfs",
        "A livecd-stage2 of ours, made beside the live root rather than in it, so that compilers never reach the "
        "medium. One kernel, of the distribution; a second one and genkernel are refused.",
        _kernels,
        MEDIA | {Target.LIVECD3, Target.STAGE4},
    ),
    row(
        "boot/kernel/<kernel>/sources",
        Status.DIFFERS,
        "kernel.package",
        "A package; sys-kernel/ goes before a bare name. In a stage4 it must install a kernel.",
        _sources,
        MEDIA | {Target.STAGE4},
    ),
    row("boot/kernel/<kernel>/distkernel", Status.HONOURED, "kernel.package", f"{DIST}, with dracut.", _dist, MEDIA),
    row(
        "boot/kernel/<kernel>/dracut_args",
        Status.HONOURED,
        "initramfs",
        "-a and -o become lists of modules, everything else is passed on.",
        _dracut,
        MEDIA,
    ),
    row(
        "boot/kernel/<kernel>/packages",
        Status.DIFFERS,
        "packages",
        "`--usepkg n` is left out, as binary packages are only taken where they fit; other options are refused.",
        _packages,
        MEDIA | {Target.STAGE4},
    ),
    refused(
        "boot/kernel/<kernel>/config",
        "a kernel takes its package's own configuration",
        "leave it out",
        MEDIA | {Target.STAGE4},
    ),
    refused(
        "boot/kernel/<kernel>/extraversion boot/kernel/<kernel>/gk_kernargs boot/kernel/<kernel>/initramfs_overlay "
        "*/gk_mainargs */linuxrc",
        _GENKERNEL,
        "use a distribution kernel",
        MEDIA | {Target.STAGE4},
    ),
    refused("boot/kernel/<kernel>/dracut_args", "a stage4 makes no initramfs", "leave it out", {Target.STAGE4}),
    refused(
        "boot/kernel/<kernel>/console",
        "the menu has one entry",
        "write console= to livecd/bootargs",
        MEDIA | {Target.LIVECD3},
    ),
)
