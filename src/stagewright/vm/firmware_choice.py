"""The firmware that libvirt and Stagewright choose, for each machine type and each demand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright import run
from stagewright.vm.firmware import choose, machine_type
from stagewright.vm.firmware_known import Pair
from stagewright.vm.firmware_survey import WISHES, Entry, State, Wish, in_effect, libvirt_choice

MACHINES = {
    "x86_64": ("q35", "pc", "microvm"),
    "i386": ("q35", "pc"),
    "aarch64": ("virt",),
    "arm": ("virt",),
    "riscv64": ("virt",),
    "loongarch64": ("virt",),
}
"""Machine types by architecture, by the names without a version."""

_VERSIONED = {"q35": "pc-q35-9.0", "pc": "pc-i440fx-9.0", "virt": "virt-9.0"}  # if QEMU is not installed


@dataclass(frozen=True)
class Choice:
    """Firmware for a machine and a demand. ``libvirt_user`` also reads the folder of the user."""

    architecture: str
    machine: str
    version: str
    wish: Wish
    libvirt_system: Entry | None
    libvirt_user: Entry | None
    stagewright: Path | None


def choices(system: Sequence[Entry], user: Sequence[Entry]) -> list[Choice]:
    """Return the choices for all machines that a descriptor is for, and for demands that one fulfils."""
    targeted = {name for entry in in_effect(user) for name in entry.descriptor.architectures} | {"x86_64"}
    granted = {name for entry in in_effect(user) for name in entry.descriptor.features}
    modes = {entry.descriptor.mode for entry in in_effect(user)} | {"split"}
    wishes = [wish for wish in WISHES if wish.has <= granted and wish.mode in modes]
    return [
        _choice(architecture, machine, version, wish, system, user)
        for architecture in MACHINES
        if architecture in targeted
        for machine, version in _versions(architecture)
        for wish in wishes
    ]


def _choice(
    architecture: str, machine: str, version: str, wish: Wish, system: Sequence[Entry], user: Sequence[Entry]
) -> Choice:
    by_libvirt = [libvirt_choice(entries, version, architecture, wish) for entries in (system, user)]
    usable = wish.mode == "split" and not wish.has_not
    own = choose(user, version, architecture, wish.has, []) if usable else None
    return Choice(architecture, machine, version, wish, by_libvirt[0], by_libvirt[1], own.descriptor if own else None)


def _versions(architecture: str) -> Iterator[tuple[str, str]]:
    """Yield the machine types of an architecture with their versioned names, which descriptors use."""
    qemu = f"qemu-system-{architecture}"
    for machine in MACHINES[architecture]:
        if shutil.which(qemu, path=run.PATH):
            yield machine, machine_type(machine, qemu)
        else:
            yield machine, _VERSIONED.get(machine, machine)


def nvram_pairs(entries: Sequence[Entry], installed: Sequence[Pair]) -> list[str]:
    """Return the values of ``nvram`` in libvirt's qemu.conf: ``CODE:VARIABLES`` of all firmware that works here."""
    found = [
        f"{entry.descriptor.code.path}:{entry.descriptor.variables.path}"
        for entry in entries
        if entry.state is State.USABLE and entry.descriptor.code and entry.descriptor.variables
    ]
    return list(dict.fromkeys([*found, *(f"{pair.code}:{pair.variables}" for pair in installed)]))
