"""Text and JSON of ``stagewright firmware``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stagewright.ui.text import printable
from stagewright.vm.firmware_choice import Choice
from stagewright.vm.firmware_fix import Fix
from stagewright.vm.firmware_images import Flash
from stagewright.vm.firmware_survey import Entry, State

_LABELS = {State.USABLE: "usable", State.MASKED: "masked", State.MASK: "mask  ", State.BROKEN: "BROKEN"}


def entry_lines(entry: Entry) -> Iterator[str]:
    """Yield the lines for a file in a folder of descriptors."""
    yield f"{_LABELS[entry.state]}  {entry.path}" + (f" (by {entry.by})" if entry.by else "")
    if entry.state is State.MASK:
        yield "        an empty file, which disables descriptors of this name"
    for problem in entry.problems:
        yield f"        {problem.text}"
    if entry.stops_libvirt:
        yield "        libvirt finds no firmware for any machine because of this file"
    if entry.state is not State.USABLE:
        return
    found = entry.descriptor
    for file in (found.code, found.variables):
        if file:
            yield f"        {file.path} ({file.format})"
    yield f"        {', '.join(sorted(found.features)) or 'no features'}"
    for note in found.notes:
        yield f"        note: {note}"
    if entry.path.suffix != ".json":
        yield "        note: libvirt reads this file, although its name does not end in .json"


def choice_lines(choices: Sequence[Choice]) -> Iterator[str]:
    """Yield the table of choices, by machine type."""
    heading = ""
    for choice in choices:
        if heading != (heading := f"{choice.architecture} {choice.machine} ({choice.version})"):
            same = [one for one in choices if (one.architecture, one.machine) == (choice.architecture, choice.machine)]
            nothing = not any(one.libvirt_system or one.libvirt_user or one.stagewright for one in same)
            yield heading + (": nothing" if nothing else "")
        if nothing:
            continue
        answers = {"libvirt": _by_libvirt(choice.libvirt_system)}
        if (mine := _by_libvirt(choice.libvirt_user)) != answers["libvirt"]:
            answers = {"libvirt, system": answers["libvirt"], "libvirt, user": mine}
        if not choice.wish.has_not and choice.wish.mode == "split":
            answers["stagewright"] = choice.stagewright.name if choice.stagewright else "nothing"
        yield f"  {choice.wish.name + ':':<18} {'; '.join(f'{name}: {answer}' for name, answer in answers.items())}"


def _by_libvirt(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    if entry.stops_libvirt:
        return f"an error because of {entry.path}"
    return entry.path.name + (" (BROKEN: the machine does not start)" if entry.state is State.BROKEN else "")


def nvram_lines(pairs: Sequence[str]) -> list[str]:
    """Return the setting ``nvram`` of libvirt's qemu.conf."""
    return ["nvram = [", *(f'    "{pair}",' for pair in pairs), "]"]


def fix_lines(fix: Fix, *, full: bool) -> Iterator[str]:
    """Yield the lines for a correction; with ``full`` also the text to write."""
    yield f"{fix.broken}: {fix.what}"
    if fix.path and full:
        yield f"  {fix.path}:"
        yield from (f"    {line}" for line in printable(fix.text).splitlines() or ["(an empty file)"])


def entry_data(entry: Entry) -> dict[str, Any]:
    """Return a file in a folder of descriptors for JSON."""
    found = entry.descriptor
    return {
        "path": str(entry.path),
        "state": entry.state.value,
        "masked_by": str(entry.by) if entry.by else None,
        "interfaces": list(found.interfaces),
        "device": found.device,
        "mode": found.mode,
        "code": _flash(found.code),
        "variables": _flash(found.variables),
        "targets": [{"architecture": one.architecture, "machines": list(one.machines)} for one in found.targets],
        "features": sorted(found.features),
        "problems": [{"cause": problem.cause.value, "text": problem.text} for problem in found.problems],
        "stops_libvirt": entry.stops_libvirt,
        "notes": found.notes,
    }


def _flash(file: Flash | None) -> dict[str, str] | None:
    return {"path": str(file.path), "format": file.format} if file else None


def choice_data(choice: Choice) -> dict[str, Any]:
    """Return a choice for JSON."""

    def path(entry: Entry | None) -> str | None:
        return str(entry.path) if entry else None

    failing = [entry for entry in (choice.libvirt_system, choice.libvirt_user) if entry]
    return {
        "architecture": choice.architecture,
        "machine": choice.machine,
        "version": choice.version,
        "wish": choice.wish.name,
        "libvirt_system": path(choice.libvirt_system),
        "libvirt_user": path(choice.libvirt_user),
        "libvirt_works": all(entry.state is State.USABLE for entry in failing) and bool(failing),
        "stagewright": str(choice.stagewright) if choice.stagewright else None,
    }


def fix_data(fix: Fix) -> Mapping[str, str | None]:
    """Return a correction for JSON."""
    path: Path | None = fix.path
    return {"broken": str(fix.broken), "what": fix.what, "path": str(path) if path else None, "text": fix.text}
