"""The entries of each target, before its keys are converted."""

from __future__ import annotations

from collections.abc import Callable

from stagewright.catalyst.convert.conversion import Conversion, SpecOutput
from stagewright.catalyst.convert.entry_draft import EntryDraft
from stagewright.catalyst.spec_keys import Target
from stagewright.errors import Place

Source = Callable[[Conversion, str], tuple[str, Place]]
"""Function that returns the name of a spec's input by role, and the place of the key that names it."""

_KINDS = {
    Target.STAGE1: "stage1",
    Target.STAGE2: "stage2",
    Target.STAGE3: "stage3",
    Target.STAGE4: "stage4",
    Target.EMBEDDED: "embedded",
    Target.LIVECD1: "stage4",
    Target.DISKIMAGE1: "stage4",
}
"""Kinds of the stages for targets whose result is a root."""

_FILES = {Target.LIVECD2: "livecd/iso", Target.LIVECD3: "livecd/iso", Target.DISKIMAGE2: "diskimage/qcow2"}
"""Keys with the file names of media."""

MODES = ("ram", "speech")
"""Further lines of the boot menu for each kernel, as in Catalyst."""

_AUTOCONFIG = "autoconfig"
"""The service of app-misc/livecd-tools that Catalyst starts in every live system."""

_USE = {Target.LIVECD1: "livecd", Target.DISKIMAGE1: "diskimage"}
"""USE flag that Catalyst adds for a target."""


def make_entries(conversion: Conversion, source: Source) -> None:
    """Add the entries of a spec with their inputs."""
    place = conversion.spec.place("target")
    target = conversion.target
    if target in _KINDS:
        draft = conversion.new_draft("main", _KINDS[target], place)
        draft.put("root", *source(conversion, "source"))
        conversion.new_draft("tar", "tarball", place)
    elif target is Target.LIVECD2:
        _livecd_stage2(conversion, source, place)
    elif target is Target.DISKIMAGE2:
        _diskimage_stage2(conversion, source, place)
    elif target is Target.NETBOOT:
        draft = conversion.new_draft("main", "netboot", place)
        draft.put("root", *source(conversion, "source"))
        _leaves(conversion, draft)
    else:
        _livecd_stage3(conversion, source, place)


def _livecd_stage2(conversion: Conversion, source: Source, place: Place) -> None:
    """Add the live root, the payload and the ISO. The ISO's entry also makes the squashfs."""
    root = source(conversion, "source")
    conversion.new_draft("live", "stage4", place).put("root", *root)
    payload = conversion.new_draft("payload", "livecd-stage2", place)
    payload.put("root", *root)
    payload.put("verity", False, place)  # media and their boot arguments are those of Catalyst
    _iso(conversion, f"{conversion.name}.live", f"{conversion.name}.payload", place)


def _livecd_stage3(conversion: Conversion, source: Source, place: Place) -> None:
    """Add the live root and the ISO. The payload is that of a livecd-stage2 of the same run."""
    conversion.new_draft("live", "stage4", place).put("root", *source(conversion, "source"))
    if "medium" not in conversion.result.inputs:
        entry = conversion.spec.entries.get("livecd/cdtar") or conversion.spec.entries["target"]
        hint = "add the spec of the livecd-stage2 that makes it"
        conversion.refuse(entry, "no livecd-stage2 of this run makes it, and a payload cannot be a tarball", hint)
        _iso(conversion, f"{conversion.name}.live", "", place)
        return
    payload, where = source(conversion, "medium")
    _iso(conversion, f"{conversion.name}.live", f"{payload}.payload", where)


def _diskimage_stage2(conversion: Conversion, source: Source, place: Place) -> None:
    """Add the root, the payload and the image. The sizes are fixed, as in Catalyst."""
    root = source(conversion, "source")
    system = conversion.new_draft("root", "diskimage-stage1", place)
    system.put("root", *root)
    for setting, value in (("timezone", "UTC"), ("locale", "C.UTF-8"), ("keymap", "us")):
        system.put(setting, value, place)
    payload = conversion.new_draft("payload", "livecd-stage2", place)
    payload.put("root", *root)
    payload.put("verity", False, place)  # media and their boot arguments are those of Catalyst
    payload.put("initramfs.modules", ["dmsquash-live"], place)
    image = _image(conversion, "diskimage-stage2", place)
    image.put("root", system.name, place)
    image.put("boot", payload.name, place)
    image.put("size", "20G", place)


def _iso(conversion: Conversion, live: str, boot: str, place: Place) -> None:
    image = _image(conversion, "livecd-stage3", place)
    image.put("live", live, place)
    image.put("boot", boot, place)
    image.add("entries", [(mode, place) for mode in MODES])


def _image(conversion: Conversion, kind: str, place: Place) -> EntryDraft:
    """Add the entry of a medium and the file that Catalyst would make."""
    draft = conversion.new_draft("image", kind, place)
    _leaves(conversion, draft)
    return draft


def _leaves(conversion: Conversion, draft: EntryDraft) -> None:
    """Add the files that Catalyst would make as outputs of an entry."""
    for path in conversion.result.artifacts:
        whole = path if path.startswith("/") else f"builds/{path}"
        conversion.context.outputs.append(SpecOutput(draft.name, whole, conversion.result))


def finish_entries(conversion: Conversion) -> None:
    """Complete the entries with settings that depend on several keys."""
    spec = conversion.spec
    flag = _USE.get(conversion.target)
    if flag and flag not in spec.words(f"{flag}/use"):
        conversion.main.add("use", [(flag, spec.place("target"))])
    if conversion.target not in _FILES:
        return
    if conversion.target is Target.LIVECD2:
        _note_services(conversion)
    file, prefix = _FILES[conversion.target], _FILES[conversion.target].partition("/")[0]
    image = conversion.drafts["image"]
    if file not in spec.entries:
        conversion.notice(spec.place("target"), f"{file} is missing: as in Catalyst, no image is made")
    if file not in spec.entries or not image.data["boot"]:
        del conversion.drafts["image"]
        conversion.context.outputs = [output for output in conversion.context.outputs if output.entry != image.name]
    how = spec.text(f"{prefix}/depclean")
    if conversion.target is not Target.LIVECD3 and f"{prefix}/unmerge" in spec.entries and how != "no":
        keeps = "keep-build" if how == "keepbdeps" else "all"
        conversion.root.put("depclean", keeps, spec.place(f"{prefix}/unmerge"))


def _note_services(conversion: Conversion) -> None:
    """Add a notice if a live system lacks the service that configures hardware and network in Catalyst's media."""
    place = (conversion.spec.entries.get("livecd/rcadd") or conversion.spec.entries["target"]).place
    if not any(word.partition("|")[0] == _AUTOCONFIG for word in conversion.spec.words("livecd/rcadd")):
        text = f"livecd/rcadd: {_AUTOCONFIG} is not added to the runlevel default, as Catalyst does; "
        conversion.notice(place, f"{text}write `{_AUTOCONFIG}|default` if packages of the live system have it")
