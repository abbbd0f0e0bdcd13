"""Correct broken firmware descriptors.

A correction is a descriptor of the same file name in a folder that takes precedence. It keeps what is right in the
broken one, and names files that are installed. If no installed firmware has its features, or its purpose is unknown, an
empty file disables the broken one: one that libvirt cannot read hides all others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.firmware_descriptor import Descriptor, Target, read_descriptor
from stagewright.vm.firmware_images import Flash, check_files, content_of
from stagewright.vm.firmware_known import ENROLLED, SECURE, Pair
from stagewright.vm.firmware_problems import Cause, Problem
from stagewright.vm.firmware_survey import Entry, State

MACHINES = {"x86_64": ("pc-i440fx-*", "pc-q35-*"), "aarch64": ("virt-*",)}
"""Machine types for UEFI by architecture, if a descriptor has none."""

CONFIDENTIAL = frozenset({"amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx"})
"""Features of a build that replacement files do not have."""


@dataclass(frozen=True)
class Fix:
    """A correction of a broken descriptor: the file to write, its text, and a sentence.

    Without ``path`` nothing can be written, and ``text`` is empty.
    """

    broken: Path
    what: str
    path: Path | None = None
    text: str = ""


def fixes(entries: Sequence[Entry], folders: Sequence[Path], target: Path, known: Sequence[Pair]) -> list[Fix]:
    """Return the corrections of all broken descriptors.

    ``target`` is the folder to write to, one of ``folders``. A descriptor in a more specific one is replaced there.
    """
    pairs = [*known, *_described(entries)]
    found = []
    for entry in entries:
        if entry.state is State.BROKEN:
            folder = max(target, entry.path.parent, key=folders.index)
            found.append(_fix(entry, folder / entry.path.name, pairs))
    return found


def _described(entries: Sequence[Entry]) -> list[Pair]:
    """Return the pairs that usable descriptors name."""
    return [
        Pair(architecture, found.code.path, found.variables.path, found.features)
        for found in (entry.descriptor for entry in entries if entry.state is State.USABLE)
        if found.code and found.variables and found.code.format == found.variables.format == "raw"
        for architecture in sorted(found.architectures)
    ]


def _fix(entry: Entry, path: Path, pairs: Sequence[Pair]) -> Fix:
    cause = entry.problems[0].cause
    if cause is Cause.NOT_REGULAR:
        return Fix(entry.path, f"not a regular file, so no program reads it: remove {entry.path}")
    if cause in (Cause.DANGLING_LINK, Cause.LINK_LOOP) and path != entry.path:
        return Fix(entry.path, f"libvirt stops at this link even if it is overridden: remove {entry.path}")
    corrected = _corrected(entry, pairs)
    if isinstance(corrected, str):
        return Fix(entry.path, f"disabled by an empty file, because {corrected}", path)
    what = f"uses {corrected['mapping']['executable']['filename']}"
    return Fix(entry.path, what, path, json.dumps(corrected, indent=4, ensure_ascii=False) + "\n")


def _corrected(entry: Entry, pairs: Sequence[Pair]) -> dict[str, Any] | str:
    """Return a document without problems, or the reason why there is none."""
    found = entry.descriptor
    if found.interfaces and "uefi" not in found.interfaces:
        return f"it is for {', '.join(found.interfaces)}, not for UEFI"
    if found.device not in ("", "flash") or found.mode != "split":
        return f"another file cannot replace a firmware of the kind {found.mode or found.device}"
    architecture = _architecture(entry)
    if architecture not in MACHINES:
        return "nothing in it says what architecture it is for"
    features = found.features if found.document else _features_of(entry.path.name)
    features, files = _files(found, architecture, features, pairs)
    if files is None:
        named = ", ".join(sorted(features & ENROLLED)) or "UEFI"
        return f"no firmware with {named} for {architecture} is installed"
    targets = found.targets or (Target(architecture, _machines(architecture, features)),)
    kept = {key: value for key, value in found.document.items() if key == "tags" and isinstance(value, list)}
    description = found.document.get("description")
    return {
        "description": description if isinstance(description, str) else f"UEFI firmware for {architecture}",
        "interface-types": list(found.interfaces) or ["uefi"],
        "mapping": {"device": "flash", "executable": _flash(files[0]), "nvram-template": _flash(files[1])},
        "targets": [{"architecture": item.architecture, "machines": list(item.machines)} for item in targets],
        "features": sorted(features),
        "tags": kept.get("tags", []),
    }


def _flash(file: Flash) -> dict[str, str]:
    return {"filename": str(file.path), "format": file.format}


def _architecture(entry: Entry) -> str:
    """Return the architecture of a broken descriptor: that of a target, or the one in its name."""
    for target in entry.descriptor.targets:
        return target.architecture
    listed = entry.descriptor.document.get("targets")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and item.get("architecture") in MACHINES:
            return str(item["architecture"])
    return next((name for name in MACHINES if name in entry.path.name), "")


def _features_of(name: str) -> frozenset[str]:
    """Return the features in names of Debian and Fedora, as in ``50-edk2-x86_64-secure-enrolled.json``."""
    if "enrolled" in name:
        return ENROLLED
    return SECURE if "secure" in name or "-sb" in name else frozenset()


def _machines(architecture: str, features: frozenset[str]) -> tuple[str, ...]:
    return ("pc-q35-*",) if "requires-smm" in features else MACHINES[architecture]


def _files(
    found: Descriptor, architecture: str, features: frozenset[str], pairs: Sequence[Pair]
) -> tuple[frozenset[str], tuple[Flash, Flash] | None]:
    """Return the features and files of the correction: its own files if they are usable, or those of a pair."""
    if found.code and found.variables:
        own = tuple(Flash(file.path, _format(file)) for file in (found.code, found.variables))
        if not check_files(own[0], own[1], frozenset({architecture}), keys="enrolled-keys" in features):
            return features, (own[0], own[1])
    wanted = features & ENROLLED
    for pair in pairs:
        if pair.architecture == architecture and pair.features & ENROLLED == wanted and pair.works():
            return features - (CONFIDENTIAL - pair.features), (Flash(pair.code), Flash(pair.variables))
    return features, None


def _format(file: Flash) -> str:
    content = content_of(file)
    return file.format if isinstance(content, Problem) else content.format


def write_fix(fix: Fix) -> None:
    """Write a correction. A file of the same name stays as ``.NAME.broken``, which no program reads.

    Raises: NOT_ROOT if the folder cannot be written to, NO_FIRMWARE if the written descriptor still has a problem.
    """
    assert fix.path
    part = fix.path.with_name(f".{fix.path.name}.part")
    try:
        fix.path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.write_text(fix.text, encoding="utf-8")
        if os.path.lexists(fix.path):
            fix.path.rename(fix.path.with_name(f".{fix.path.name}.broken"))
        part.rename(fix.path)
    except OSError as error:
        what = f"{fix.path} cannot be written: {error.strerror}"
        raise StagewrightError(Reason.NOT_ROOT, what, hint="run as root, or as the owner of the folder") from error
    problems = read_descriptor(fix.path).problems if fix.text else []
    if problems:
        raise StagewrightError(Reason.NO_FIRMWARE, f"{fix.path}: {problems[0].text}")
