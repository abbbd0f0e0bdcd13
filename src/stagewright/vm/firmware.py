"""Find UEFI firmware for QEMU by firmware descriptors.

A descriptor is a JSON file with the features of a firmware image and the machines that it supports
(:mod:`stagewright.vm.firmware_survey`). Distributions number their descriptors so that those that enforce Secure Boot
are first. So this module filters by features.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.vm.firmware_descriptor import Descriptor
from stagewright.vm.firmware_images import Flash, check_files
from stagewright.vm.firmware_known import KNOWN, Pair
from stagewright.vm.firmware_survey import Entry, State, directories, in_effect, mismatch, survey

ON_REQUEST = frozenset({"requires-smm", "enrolled-keys", "secure-boot"})
"""Features that restrict guests. Firmware with one of them is only used on request."""

HINTS = {
    "x86_64": "install OVMF: package ovmf on Debian and Ubuntu, sys-firmware/edk2-bin on Gentoo",
    "aarch64": "install EDK2: package qemu-efi-aarch64 on Debian and Ubuntu, sys-firmware/edk2-bin on Gentoo",
}


@dataclass(frozen=True)
class Firmware:
    """A UEFI image: its code, mapped read-only, and the template of its variables, which each machine copies."""

    code: Path
    variables: Path
    code_format: str = "raw"
    variables_format: str = "raw"
    features: frozenset[str] = frozenset()
    descriptor: Path | None = None


def machine_type(alias: str, qemu: str = "qemu-system-x86_64") -> str:
    """Return the versioned machine of an alias: ``q35`` is ``pc-q35-7.2`` in QEMU 7.2. Descriptors use this name."""
    for line in _machines(qemu):
        name, _, description = line.partition(" ")
        if name == alias and "(alias of " in description:
            return description.rpartition("(alias of ")[2].split(")")[0]
    return alias


@functools.cache
def _machines(qemu: str) -> list[str]:
    return run.run([qemu, "-machine", "help"], timeout=30).stdout.splitlines()


def find(
    machine: str,
    *,
    architecture: str = "x86_64",
    want: Collection[str] = (),
    folders: Sequence[Path] | None = None,
    known: Sequence[Pair] = KNOWN,
) -> Firmware:
    """Return the first firmware that matches a machine type (see :func:`machine_type`) and has all wanted features.

    ``secure-boot`` also accepts ``requires-smm``, because most images have both. ``known`` are pairs for computers
    whose descriptors do not match. Raises ``NO_FIRMWARE`` with the list of all candidates and the reasons why they do
    not match.
    """
    folders = directories() if folders is None else folders
    tried: list[str] = []
    found = choose(survey(folders), machine, architecture, want, tried)
    if found:
        return found
    for pair in known:
        if pair.architecture == architecture and not _unasked(pair.features, frozenset(want)):
            problems = check_files(Flash(pair.code), Flash(pair.variables), frozenset({architecture}))
            if not problems and pair.features.issuperset(want):
                return Firmware(pair.code, pair.variables, features=pair.features)
            tried += [problem.text for problem in problems[:1]]
    asked = f" with {', '.join(sorted(want))}" if want else ""
    where = f"searched for descriptors in {', '.join(map(str, folders))}"
    raise StagewrightError(
        Reason.NO_FIRMWARE,
        f"UEFI firmware{asked} for {architecture} machine {machine} not found",
        hint=f"{HINTS[architecture]}; stagewright firmware shows what is wrong with descriptors",
        detail="\n".join(f"  {line}" for line in (where, *tried)),
    )


def choose(
    entries: Sequence[Entry], machine: str, architecture: str, want: Collection[str], tried: list[str]
) -> Firmware | None:
    """Return the first usable firmware in the order of descriptors. ``tried`` gets the reasons why others are not."""
    for entry in in_effect(entries):
        why = entry.problems[0].text if entry.state is State.BROKEN else ""
        why = why or _unfit(entry.descriptor, machine, architecture, frozenset(want))
        if not why:
            return _firmware(entry)
        tried.append(f"{entry.path}: {why}")
    return None


def _firmware(entry: Entry) -> Firmware:
    found = entry.descriptor
    assert found.code
    assert found.variables
    code, variables = found.code, found.variables
    return Firmware(code.path, variables.path, code.format, variables.format, found.features, entry.path)


def _unfit(descriptor: Descriptor, machine: str, architecture: str, want: frozenset[str]) -> str:
    if descriptor.device != "flash":
        return f"is not mapped as flash (found {descriptor.device})"
    if descriptor.mode != "split":
        return f"code and variables are not in separate files (found mode {descriptor.mode})"
    if why := mismatch(descriptor, machine, architecture):
        return why
    if unasked := _unasked(descriptor.features, want):
        return f"has features that were not requested: {', '.join(unasked)}"
    lacking = sorted(want - descriptor.features)
    return f"lacks features: {', '.join(lacking)}" if lacking else ""


def _unasked(features: frozenset[str], want: frozenset[str]) -> list[str]:
    """Return the features that restrict guests and were not requested."""
    return sorted((features & ON_REQUEST) - (want | {"requires-smm"} if "secure-boot" in want else want))
