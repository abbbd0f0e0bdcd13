"""Rules for the keys of kernels."""

from __future__ import annotations

import shlex

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import EntryDraft, text
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target, ValueType

MEDIA = {Target.LIVECD2, Target.DISKIMAGE2}

BUILT = MEDIA | {Target.NETBOOT}
"""Targets that build kernels."""

PACKAGED = {Target.STAGE4, Target.EMBEDDED}
"""Targets whose kernel is a package that installs one."""

DIST = "sys-kernel/gentoo-kernel"
SOURCES = "sys-kernel/gentoo-sources"
GENKERNEL = "sys-kernel/genkernel"

_FIRST = "gentoo"  # a kernel of this name is the default, boot/gentoo


def _label(entry: SpecEntry) -> str:
    """Return the name of the kernel in a key."""
    return entry.key.removeprefix("boot/kernel/").rpartition("/")[0]


def kernel_draft(conversion: Conversion) -> EntryDraft:
    """Return the entry that makes the kernels: the payload of media, or the main entry of netboot."""
    return conversion.drafts.get("payload") or conversion.main


def kernel_path(conversion: Conversion, label: str) -> str:
    """Return the path of a kernel's settings: ``kernel``, or ``kernels.NAME`` for several kernels and for netboot."""
    several = len(conversion.spec.words("boot/kernel")) > 1 or conversion.target is Target.NETBOOT
    return f"kernels.{text(label)}" if several else "kernel"


def is_dist(conversion: Conversion, label: str) -> bool:
    """Return True if a kernel is a distribution kernel. Only media can have one."""
    return conversion.target in MEDIA and conversion.spec.text(f"boot/kernel/{label}/distkernel") == "yes"


def _kernels(conversion: Conversion, entry: SpecEntry) -> None:
    """Add the origin of each kernel. The keys of each kernel add the other settings."""
    if conversion.target not in BUILT:
        return  # a livecd-stage3 uses the kernels of its payload; a stage4 has only the keys of each kernel
    draft = kernel_draft(conversion)
    for number, label in enumerate(entry.words):
        path, place = kernel_path(conversion, label), entry.word_place(number)
        if "." in label or label in entry.words[:number]:
            hint = "use letters and digits, and each name once"
            conversion.refuse(entry, f"invalid name of a kernel {label!r}", hint, number)
            continue
        dist = is_dist(conversion, label)
        draft.put(f"{path}.{'package' if dist else 'sources'}", DIST if dist else SOURCES, place)
        if not dist:
            draft.put(f"{path}.build", "genkernel", place)
    if not all(is_dist(conversion, label) for label in entry.words):
        draft.add("packages", [(GENKERNEL, entry.word_place())])  # Catalyst installs it without a key
    if _FIRST in entry.words[1:] and conversion.target in MEDIA:
        draft.put("default", _FIRST, entry.word_place(entry.words.index(_FIRST)))


def _sources(conversion: Conversion, entry: SpecEntry) -> None:
    atom = entry.text if "/" in entry.text else f"sys-kernel/{entry.text}"
    if conversion.target in PACKAGED:
        if "gentoo-kernel" not in atom and "vanilla-kernel" not in atom:
            hint = f"name a package that installs a kernel, like {DIST}"
            conversion.refuse(entry, f"{conversion.target} cannot build kernel sources ({atom})", hint)
        conversion.main.put("kernel.package", text(atom), entry.word_place())
        return
    label = _label(entry)
    setting = "package" if is_dist(conversion, label) else "sources"
    kernel_draft(conversion).put(f"{kernel_path(conversion, label)}.{setting}", text(atom), entry.word_place())


def _dist(conversion: Conversion, entry: SpecEntry) -> None:
    """Do nothing: the converter of `boot/kernel` reads this key."""


def _config(conversion: Conversion, entry: SpecEntry) -> None:
    name = conversion.file(entry.text, ValueType.CONFIG)
    kernel_draft(conversion).put(f"{kernel_path(conversion, _label(entry))}.config", name, entry.word_place())


def _extraversion(conversion: Conversion, entry: SpecEntry) -> None:
    label = _label(entry)
    if is_dist(conversion, label):
        conversion.refuse(entry, "a distribution kernel has the version of its package", "remove it")
    else:
        conversion.put([kernel_draft(conversion)], f"{kernel_path(conversion, label)}.extraversion", entry)


def shell_words(entry: SpecEntry) -> list[str]:
    """Return the words of a key, split as in a shell: quotes keep words together."""
    try:
        return shlex.split(entry.text)
    except ValueError:  # a quote that is not closed
        return entry.words


def _genkernel(conversion: Conversion, entry: SpecEntry) -> None:
    label = _label(entry)
    if is_dist(conversion, label):
        conversion.refuse(entry, "genkernel does not build distribution kernels", "remove it")
        return
    words = ((text(word), entry.word_place()) for word in shell_words(entry))
    kernel_draft(conversion).add(f"{kernel_path(conversion, label)}.genkernel_arguments", words)


def _genkernel_all(conversion: Conversion, entry: SpecEntry) -> None:
    labels = [label for label in conversion.spec.words("boot/kernel") if not is_dist(conversion, label)]
    if not labels:
        conversion.notice(entry.place, f"{entry.key}: ignored, genkernel builds no kernel of this spec")
    for label in labels:
        if "." not in label:
            words = ((text(word), entry.word_place()) for word in shell_words(entry))
            conversion.drafts["payload"].add(f"{kernel_path(conversion, label)}.genkernel_arguments", words)


def _dracut(conversion: Conversion, entry: SpecEntry) -> None:
    label = _label(entry)
    if not is_dist(conversion, label):
        conversion.refuse(entry, "genkernel makes the initramfs of this kernel", "remove it, or add distkernel: yes")
        return
    payload = conversion.drafts["payload"]
    place = entry.word_place()
    payload.put("initramfs.modules", ["dmsquash-live"], place)
    words = ((text(word), place) for word in shell_words(entry))
    payload.add(f"{kernel_path(conversion, label)}.dracut_arguments", words)


def _overlay(conversion: Conversion, entry: SpecEntry) -> None:
    payload = conversion.drafts["payload"]
    name = conversion.file(entry.text)
    if payload.data.get("initramfs", {}).get("overlay", name) != name:
        conversion.refuse(entry, "all kernels of a spec must have the same overlay", "merge the folders")
    payload.put("initramfs.overlay", name, entry.word_place())


def _packages(conversion: Conversion, entry: SpecEntry) -> None:
    for number in conversion.package_words(entry):
        if atom := conversion.atom(entry.words[number], entry, number):
            payload = conversion.drafts.get("payload")
            path = f"{kernel_path(conversion, _label(entry))}.packages" if payload else "packages"
            (payload or conversion.main).add(path, [(atom, entry.word_place(number))])


def _consoles(conversion: Conversion, entry: SpecEntry) -> None:
    image = conversion.drafts["image"]
    for number, word in enumerate(entry.words):
        known = {console.partition(",")[0]: console for console in image.data.get("consoles", [])}
        device = word.partition(",")[0]
        if device not in known:
            image.add("consoles", [(text(word), entry.word_place(number))])
        elif known[device] != text(word):
            remark = f"{entry.key}: {word} ignored, the menu already has a line for {known[device]}"
            conversion.notice(entry.word_place(number), remark)


RULES: tuple[ConversionRule, ...] = (
    rule(
        "boot/kernel",
        KeyStatus.DIFFERS,
        "the payload: kernel, kernels",
        "A livecd-stage2 of Stagewright in a separate root, so the medium never contains compilers. genkernel is "
        "installed there for kernels from sources. A single kernel is boot/gentoo. Of several kernels, the one called "
        "gentoo or else the first is boot/gentoo, and the others are boot/NAME.",
        _kernels,
        MEDIA | {Target.LIVECD3} | PACKAGED,
    ),
    rule(
        "boot/kernel",
        KeyStatus.HONOURED,
        "kernels",
        "Built by genkernel --netboot, which is installed for it. The files have the names that Catalyst gives them: "
        "kernels/NAME, the initramfs kernels/misc/NAME.igz, and System-NAME.map.",
        _kernels,
        {Target.NETBOOT},
    ),
    rule(
        "boot/kernel/<kernel>/sources",
        KeyStatus.HONOURED,
        "kernel.sources, kernel.package",
        "A name without a category is in sys-kernel. The default is gentoo-sources, or gentoo-kernel with distkernel.",
        _sources,
        BUILT,
    ),
    rule(
        "boot/kernel/<kernel>/sources",
        KeyStatus.DIFFERS,
        "kernel.package",
        "A package that installs a kernel. Sources are refused: build them for a medium.",
        _sources,
        PACKAGED,
    ),
    rule(
        "boot/kernel/<kernel>/distkernel",
        KeyStatus.HONOURED,
        "kernel.package",
        f"yes: {DIST}, with dracut. Any other word: sources built by genkernel, where Catalyst mixes both ways.",
        _dist,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/config",
        KeyStatus.HONOURED,
        "kernel.config",
        "The configuration of a kernel from sources. For a distribution kernel it is merged into the kernel's own "
        "configuration. Found by its base name below KCONFIG_DIR, as in catalyst-auto.",
        _config,
        BUILT,
    ),
    rule(
        "boot/kernel/<kernel>/extraversion",
        KeyStatus.HONOURED,
        "kernel.extraversion",
        "For a kernel from sources. Refused for a distribution kernel.",
        _extraversion,
        BUILT,
    ),
    rule(
        "boot/kernel/<kernel>/gk_kernargs",
        KeyStatus.HONOURED,
        "kernel.genkernel_arguments",
        "Quotes keep words together, as in a shell. Refused for a distribution kernel.",
        _genkernel,
        BUILT,
    ),
    rule(
        "*/gk_mainargs",
        KeyStatus.HONOURED,
        "kernel.genkernel_arguments",
        "For all kernels that genkernel builds.",
        _genkernel_all,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/dracut_args",
        KeyStatus.HONOURED,
        "kernel.dracut_arguments",
        "Arguments of dracut, with quotes as in a shell. The module dmsquash-live is always added.",
        _dracut,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/initramfs_overlay",
        KeyStatus.DIFFERS,
        "initramfs.overlay",
        "One folder for all kernels of a spec. Several folders are refused.",
        _overlay,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/packages",
        KeyStatus.DIFFERS,
        "kernel.packages",
        "`--usepkg n` is ignored: binary packages are only used if they match. Other options as in */packages.",
        _packages,
        MEDIA | {Target.STAGE4},
    ),
    rule(
        "boot/kernel/<kernel>/console",
        KeyStatus.DIFFERS,
        "consoles",
        "A line in the menu for each console, for all kernels of the spec. The first setting of a device is used.",
        _consoles,
        {Target.LIVECD2, Target.LIVECD3},
    ),
    refused("*/linuxrc", "genkernel's linuxrc cannot be replaced", "remove it", MEDIA | {Target.STAGE4}),
    refused(
        "boot/kernel/<kernel>/config boot/kernel/<kernel>/extraversion boot/kernel/<kernel>/gk_kernargs "
        "boot/kernel/<kernel>/initramfs_overlay boot/kernel/<kernel>/dracut_args */gk_mainargs",
        "a stage4 builds no kernel and makes no initramfs",
        "remove it, or build the kernel for a medium",
        {Target.STAGE4},
    ),
)
