"""Sizes and places of the partitions of a disk (GPT), as input for sfdisk(8).

Partitions start at multiples of 1 MiB. Space that no partition needs is distributed by weight, as systemd-repart does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stagewright.arch import Machine
from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.definitions import Definition
from stagewright.media.disk.filesystem_types import MIB
from stagewright.media.disk.partition_types import guid_of

SECTOR = 512
FIRST = 1 * MIB
"""Start of the first partition. As many bytes stay free at the end for the backup table."""

_EMPTY = 10 * MIB  # smallest size of a partition without content, as in systemd-repart
_GROW, _READ_ONLY, _NO_AUTO = 59, 60, 63  # bits of attributes, Discoverable Partitions Specification


@dataclass(frozen=True)
class Partition:
    """A partition of a table; offset and size are in bytes, ``uuid`` and ``type`` GUIDs."""

    definition: Definition
    start: int
    size: int
    uuid: str
    label: str

    def line(self, machine: Machine) -> str:
        """Return its line for sfdisk(8)."""
        one = self.definition
        bits = [(_GROW, one.grows), (_READ_ONLY, bool(one.read_only or one.is_fixed)), (_NO_AUTO, one.no_auto)]
        chosen = ",".join(str(bit) for bit, is_set in bits if is_set)
        words = [f"start={self.start // SECTOR}", f"size={self.size // SECTOR}", f"type={guid_of(one.type, machine)}"]
        label = self.label.replace("\\", "\\\\").replace('"', "\\x22")
        words += [f"uuid={self.uuid}", f'name="{label}"', *([f'attrs="GUID:{chosen}"'] if chosen else [])]
        return ", ".join(words)


def script(partitions: Sequence[Partition], machine: Machine, disk: str) -> str:
    """Return a partition table as input for sfdisk(8). ``disk`` is the GUID of the disk."""
    head = ["label: gpt", f"label-id: {disk}", "unit: sectors", ""]
    return "\n".join([*head, *(one.line(machine) for one in partitions)]) + "\n"


@dataclass
class Sizes:
    """Sizes of partitions by name, in bytes. ``contents`` are the smallest sizes that hold the contents."""

    definitions: Sequence[Definition]
    contents: Mapping[str, int]
    found: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, definitions: Sequence[Definition], contents: Mapping[str, int], disk: int | None) -> Sizes:
        """Return the sizes for a disk of a size, or the smallest ones for None. Raises: BUILD_FAILED if it is small."""
        made = cls(definitions, contents)
        made.found = {one.name: made._least(one) for one in definitions}
        if disk is None:
            return made
        free = disk // MIB * MIB - made.disk
        if free < 0:
            needed = made.disk // MIB
            parts = ", ".join(f"{name} {size // MIB}" for name, size in made.found.items())
            message = (
                f"size: too small for the partitions (they need {needed} MiB, the disk has {disk // MIB}; {parts})"
            )
            raise StagewrightError(Reason.BUILD_FAILED, message, hint=f'write size = "{needed}M" or more')
        made._distribute(free)
        return made

    @property
    def disk(self) -> int:
        """The size of the disk in bytes."""
        return sum(self.found.values()) + 2 * FIRST

    def _least(self, one: Definition) -> int:
        content = self.contents.get(one.name, 0)
        size = _up(max(content, one.size_min if one.size_min is not None else 0 if content else _EMPTY))
        if one.size_max is not None and size > max(one.size_max, MIB):
            raise StagewrightError(
                Reason.BUILD_FAILED,
                f"layout: {one.name} needs {size // MIB} MiB (SizeMaxBytes allows {one.size_max // MIB})",
                place=one.place,
                hint="use your own layout with a larger SizeMaxBytes, or make the content smaller",
            )
        return size

    def _distribute(self, free: int) -> None:
        """Distribute free bytes by weight, until all partitions are as large as they can be."""
        growing = [one for one in self.definitions if one.weight and not self._is_full(one)]
        while growing and free >= MIB:
            total, rest = sum(one.weight for one in growing), free
            for one in growing:
                share = rest * one.weight // total // MIB * MIB
                if one.size_max is not None:
                    share = min(share, one.size_max // MIB * MIB - self.found[one.name])
                self.found[one.name] += share
                free -= share
            if free == rest:  # each share is below 1 MiB
                self.found[growing[-1].name] += free
                return
            growing = [one for one in growing if not self._is_full(one)]

    def _is_full(self, one: Definition) -> bool:
        return one.size_max is not None and self.found[one.name] + MIB > one.size_max

    def starts(self) -> dict[str, int]:
        """Return the offsets of the partitions in bytes, by name."""
        found, start = {}, FIRST
        for name, size in self.found.items():
            found[name] = start
            start += size
        return found


def _up(size: int) -> int:
    return max(MIB, -(-size // MIB) * MIB)
