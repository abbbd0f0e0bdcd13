"""Keys of kernels: which are built, and how."""

from __future__ import annotations

import shlex

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import EntryDraft, text
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target, ValueType

MEDIA = {Target.LIVECD2, Target.DISKIMAGE2}

BUILT = MEDIA | {Target.NETBOOT}
"""Targets that kernels are made for."""

DIST = "sys-kernel/gentoo-kernel"
SOURCES = "sys-kernel/gentoo-sources"
GENKERNEL = "sys-kernel/genkernel"

_FIRST = "gentoo"  # what boot/gentoo is called, which stays the first kernel's


def _label(entry: SpecEntry) -> str:
    """The kernel that a key is about."""
    return entry.key.removeprefix("boot/kernel/").rpartition("/")[0]


def kernel_draft(conversion: Conversion) -> EntryDraft:
    """The entry that makes the kernels: of media the payload, of netboot the only one."""
    return conversion.drafts.get("payload") or conversion.main


def kernel_path(conversion: Conversion, label: str) -> str:
    """Where the settings of a kernel are: one of a payload is `kernel`, several have names, those of netboot always."""
    several = len(conversion.spec.words("boot/kernel")) > 1 or conversion.target is Target.NETBOOT
    return f"kernels.{text(label)}" if several else "kernel"


def is_dist(conversion: Conversion, label: str) -> bool:
    """Whether a kernel is one of the distribution, which only media can have."""
    return conversion.target in MEDIA and conversion.spec.text(f"boot/kernel/{label}/distkernel") == "yes"


def _kernels(conversion: Conversion, entry: SpecEntry) -> None:
    """Give each kernel its origin; the keys of each add what they say."""
    if conversion.target not in BUILT:
        return  # a livecd-stage3 has those of its payload; a stage4 is told by the keys of each kernel
    draft = kernel_draft(conversion)
    for number, label in enumerate(entry.words):
        path, place = kernel_path(conversion, label), entry.word_place(number)
        if "." in label or label in entry.words[:number]:
            conversion.refuse(entry, f"{label} cannot be the name of a kernel", "write letters and digits", number)
            continue
        dist = is_dist(conversion, label)
        draft.put(f"{path}.{'package' if dist else 'sources'}", DIST if dist else SOURCES, place)
        if not dist:
            draft.put(f"{path}.build", "genkernel", place)
    if not all(is_dist(conversion, label) for label in entry.words):
        draft.add("packages", [(GENKERNEL, entry.word_place())])  # Catalyst installs it by itself
    if _FIRST in entry.words[1:] and conversion.target in MEDIA:
        draft.put("default", _FIRST, entry.word_place(entry.words.index(_FIRST)))


def _sources(conversion: Conversion, entry: SpecEntry) -> None:
    atom = entry.text if "/" in entry.text else f"sys-kernel/{entry.text}"
    if conversion.target is Target.STAGE4:
        if "gentoo-kernel" not in atom and "vanilla-kernel" not in atom:
            hint = f"name a package that installs a kernel, such as {DIST}"
            conversion.refuse(entry, f"{atom} brings sources, and nothing builds them in a stage4", hint)
        conversion.main.put("kernel.package", text(atom), entry.word_place())
        return
    label = _label(entry)
    setting = "package" if is_dist(conversion, label) else "sources"
    kernel_draft(conversion).put(f"{kernel_path(conversion, label)}.{setting}", text(atom), entry.word_place())


def _dist(conversion: Conversion, entry: SpecEntry) -> None:
    """That it is one has been seen by `boot/kernel`."""


def _config(conversion: Conversion, entry: SpecEntry) -> None:
    name = conversion.file(entry.text, ValueType.CONFIG)
    kernel_draft(conversion).put(f"{kernel_path(conversion, _label(entry))}.config", name, entry.word_place())


def _extraversion(conversion: Conversion, entry: SpecEntry) -> None:
    label = _label(entry)
    if is_dist(conversion, label):
        conversion.refuse(entry, "a distribution kernel has the version of its package", "leave it out")
    else:
        conversion.put([kernel_draft(conversion)], f"{kernel_path(conversion, label)}.extraversion", entry)


def shell_words(entry: SpecEntry) -> list[str]:
    """The words of a key as the shell takes them: quotes hold words together."""
    try:
        return shlex.split(entry.text)
    except ValueError:  # a quote that is not closed
        return entry.words


def _genkernel(conversion: Conversion, entry: SpecEntry) -> None:
    label = _label(entry)
    if is_dist(conversion, label):
        conversion.refuse(entry, "a distribution kernel is not built by genkernel", "leave it out")
        return
    words = ((text(word), entry.word_place()) for word in shell_words(entry))
    kernel_draft(conversion).add(f"{kernel_path(conversion, label)}.genkernel_arguments", words)


def _genkernel_all(conversion: Conversion, entry: SpecEntry) -> None:
    labels = [label for label in conversion.spec.words("boot/kernel") if not is_dist(conversion, label)]
    if not labels:
        conversion.notice(entry.place, f"{entry.key}: no kernel of this spec is built by genkernel")
    for label in labels:
        if "." not in label:
            words = ((text(word), entry.word_place()) for word in shell_words(entry))
            conversion.drafts["payload"].add(f"{kernel_path(conversion, label)}.genkernel_arguments", words)


def _dracut(conversion: Conversion, entry: SpecEntry) -> None:
    label = _label(entry)
    if not is_dist(conversion, label):
        conversion.refuse(entry, "genkernel makes the initramfs of this kernel", "leave it out, or set distkernel: yes")
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
        conversion.refuse(entry, "all kernels of a spec have one overlay", "merge the folders")
    payload.put("initramfs.overlay", name, entry.word_place())


def _packages(conversion: Conversion, entry: SpecEntry) -> None:
    skip = False
    for number, word in enumerate(entry.words):
        if skip or word in ("--usepkg", "--usepkg=n"):
            skip = word == "--usepkg" and not skip
            continue
        if word.startswith("-"):
            conversion.refuse(entry, f"{word} is an option for emerge", "list packages only", number)
        elif atom := conversion.atom(word, entry, number):
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
            conversion.notice(entry.word_place(number), f"{entry.key}: the menu has a line for {known[device]} already")


RULES: tuple[ConversionRule, ...] = (
    rule(
        "boot/kernel",
        KeyStatus.DIFFERS,
        "the payload: kernel, kernels",
        "A livecd-stage2 of ours, made beside the live root rather than in it, so that compilers never reach the "
        "medium; genkernel is installed there for kernels from sources. One kernel is boot/gentoo; of several, gentoo "
        "or else the first is, the others are boot/NAME.",
        _kernels,
        MEDIA | {Target.LIVECD3, Target.STAGE4},
    ),
    rule(
        "boot/kernel",
        KeyStatus.HONOURED,
        "kernels",
        "Each is built by genkernel, which is installed for it, with --netboot, and is called as Catalyst calls it: "
        "kernels/NAME, its initramfs kernels/misc/NAME.igz, beside it System-NAME.map.",
        _kernels,
        {Target.NETBOOT},
    ),
    rule(
        "boot/kernel/<kernel>/sources",
        KeyStatus.HONOURED,
        "kernel.sources, kernel.package",
        "sys-kernel/ goes before a bare name. The default is gentoo-sources, or gentoo-kernel with distkernel.",
        _sources,
        BUILT,
    ),
    rule(
        "boot/kernel/<kernel>/sources",
        KeyStatus.DIFFERS,
        "kernel.package",
        "A package that installs a kernel. Sources are refused: build them as a medium's.",
        _sources,
        {Target.STAGE4},
    ),
    rule(
        "boot/kernel/<kernel>/distkernel",
        KeyStatus.HONOURED,
        "kernel.package",
        f"yes: {DIST}, with dracut. Anything else: sources, built by genkernel, where Catalyst does half of each.",
        _dist,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/config",
        KeyStatus.HONOURED,
        "kernel.config",
        "Of a kernel from sources the configuration, of a distribution kernel what it merges into its own. Found by "
        "its base name below KCONFIG_DIR, as catalyst-auto does.",
        _config,
        BUILT,
    ),
    rule(
        "boot/kernel/<kernel>/extraversion",
        KeyStatus.HONOURED,
        "kernel.extraversion",
        "Of a kernel from sources; a distribution kernel has none, and it is refused.",
        _extraversion,
        BUILT,
    ),
    rule(
        "boot/kernel/<kernel>/gk_kernargs",
        KeyStatus.HONOURED,
        "kernel.genkernel_arguments",
        "Quotes hold words together, as in the shell. Refused for a distribution kernel.",
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
        "Words for dracut, quotes as in the shell. The module dmsquash-live is always there.",
        _dracut,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/initramfs_overlay",
        KeyStatus.DIFFERS,
        "initramfs.overlay",
        "One folder for all kernels of a spec; several are refused.",
        _overlay,
        MEDIA,
    ),
    rule(
        "boot/kernel/<kernel>/packages",
        KeyStatus.DIFFERS,
        "kernel.packages",
        "`--usepkg n` is left out, as binary packages are only taken where they fit; other options are refused.",
        _packages,
        MEDIA | {Target.STAGE4},
    ),
    rule(
        "boot/kernel/<kernel>/console",
        KeyStatus.DIFFERS,
        "consoles",
        "A line in the menu for each, for all kernels of the spec; the first setting of a device counts.",
        _consoles,
        {Target.LIVECD2, Target.LIVECD3},
    ),
    refused("*/linuxrc", "genkernel's linuxrc cannot be replaced", "leave it out", MEDIA | {Target.STAGE4}),
    refused(
        "boot/kernel/<kernel>/config boot/kernel/<kernel>/extraversion boot/kernel/<kernel>/gk_kernargs "
        "boot/kernel/<kernel>/initramfs_overlay boot/kernel/<kernel>/dracut_args */gk_mainargs",
        "a stage4 builds no kernel and makes no initramfs",
        "leave it out, or build the kernel of a medium",
        {Target.STAGE4},
    ),
)
