"""The entries that each target becomes, before its keys say more."""

from __future__ import annotations

from collections.abc import Callable

from stagewright.catalyst.convert.conversion import Conversion, Output
from stagewright.catalyst.keys import Target
from stagewright.errors import Place

Source = Callable[[Conversion, str], tuple[str, Place]]
"""Gives the entry that a spec starts from, by role, and the place of the key that says so."""

NONE = {
    Target.NETBOOT: "there is no netboot target",
    Target.DISKIMAGE2: "there is no target for disk images",
}
"""Targets of which nothing is made, and why."""

_KINDS = {
    Target.STAGE1: "stage1",
    Target.STAGE2: "stage2",
    Target.STAGE3: "stage3",
    Target.STAGE4: "stage4",
    Target.EMBEDDED: "embedded",
    Target.LIVECD1: "stage4",
    Target.DISKIMAGE1: "stage4",
}
"""Targets that leave a root, with our kind of it."""

_USE = {Target.LIVECD1: "livecd", Target.DISKIMAGE1: "diskimage"}
"""The flag that Catalyst adds to USE."""


def lay_out(conversion: Conversion, source: Source) -> None:
    """Make the entries of a spec, with their inputs."""
    place = conversion.spec.place("target")
    target = conversion.target
    if target in _KINDS:
        sheet = conversion.sheet("main", _KINDS[target], place)
        sheet.put("root", *source(conversion, "source"))
        if target in _USE:
            sheet.add("use", [(_USE[target], place)])
        conversion.sheet("tar", "tarball", place)
    elif target is Target.LIVECD2:
        _livecd_stage2(conversion, source, place)
    else:
        _livecd_stage3(conversion, source, place)


def _livecd_stage2(conversion: Conversion, source: Source, place: Place) -> None:
    """The root that people start, the payload, and the ISO; the squashfs is made by the ISO's entry."""
    root = source(conversion, "source")
    conversion.sheet("live", "stage4", place).put("root", *root)
    payload = conversion.sheet("payload", "livecd-stage2", place)
    payload.put("root", *root)
    _image(conversion, f"{conversion.name}.live", f"{conversion.name}.payload", place)


def _livecd_stage3(conversion: Conversion, source: Source, place: Place) -> None:
    """The root of a livecd-stage1, and the payload that a livecd-stage2 of the same run has."""
    conversion.sheet("live", "stage4", place).put("root", *source(conversion, "source"))
    if "medium" not in conversion.made.inputs:
        entry = conversion.spec.entries.get("livecd/cdtar") or conversion.spec.entries["target"]
        hint = "give the spec of the livecd-stage2 that makes it as well"
        conversion.refuse(entry, "no livecd-stage2 of this run makes it, and a payload is no tarball here", hint)
        return
    payload, where = source(conversion, "medium")
    _image(conversion, f"{conversion.name}.live", f"{payload}.payload", where)


def _image(conversion: Conversion, live: str, boot: str, place: Place) -> None:
    sheet = conversion.sheet("main", "livecd-stage3", place)
    conversion.sheets["iso"] = conversion.sheets.pop("main")
    sheet.put("live", live, place)
    sheet.put("boot", boot, place)
    for path in conversion.made.artifacts:
        whole = path if path.startswith("/") else f"builds/{path}"
        conversion.common.outputs.append(Output(sheet.name, whole, conversion.made))


def finish(conversion: Conversion) -> None:
    """What follows from several keys together."""
    spec = conversion.spec
    if conversion.target is Target.LIVECD2:
        if "livecd/iso" not in spec.entries:
            del conversion.sheets["iso"]  # as Catalyst, with its words: no ISO is made
            conversion.say(spec.place("target"), "livecd/iso is missing: no ISO is made")
        if "livecd/unmerge" in spec.entries and spec.text("livecd/depclean") != "no":
            conversion.root.put("depclean", "keep-build" if _keeps(conversion) else "all", spec.place("livecd/unmerge"))


def _keeps(conversion: Conversion) -> bool:
    return conversion.spec.text("livecd/depclean") == "keepbdeps"
