"""The least memory of a machine for each method, from the sizes of a set's files.

The constants were measured on x86_64, see `make memory-matrix`.
"""

from __future__ import annotations

from collections.abc import Sequence

from stagewright.lazy_dataclass import dataclass
from stagewright.netboot.methods import MIB, Method

UNIT = 64
"""The least memory is a multiple of this, in MiB. Firmware reports memory to boot loaders in this unit."""

_UNPACKING = 80 * MIB  # the kernel with its tables, its start, and what the firmware keeps, before it unpacks
_KERNEL = 60 * MIB  # the same after the start of the kernel
_RUNNING = 40 * MIB  # programs of the initramfs, then the start of a small system; as RUNNING in check-memory.sh
_TABLES = 64  # the kernel takes 64 bytes for each page of 4 KiB


@dataclass(frozen=True)
class Sizes:
    """Sizes of a set's files in bytes. ``unpacked`` is the memory of the initramfs after the kernel has unpacked it."""

    image: int
    initramfs: int
    unpacked: int


def least_memory(method: Method, sizes: Sizes) -> int:
    """Return the least memory of a machine in MiB, a multiple of ``UNIT``.

    While the kernel unpacks an initramfs, its memory holds the packed and the unpacked one. An image in the initramfs
    is not compressed again, so it is there twice. The initramfs stays in memory until the live system starts.
    """
    image = sizes.image if method is Method.INITRD else 0
    copied = sizes.image if method is Method.HTTP else 0
    unpacking = _UNPACKING + sizes.initramfs + sizes.unpacked + 2 * image
    running = _KERNEL + sizes.unpacked + image + copied + _RUNNING
    need = max(unpacking, running)
    need += need // _TABLES
    return -(-need // (UNIT * MIB)) * UNIT


@dataclass(frozen=True)
class MemoryNeed:
    """The least memory of one method, in MiB, and the methods of the set that need less."""

    method: Method
    least: int
    others: Sequence[MemoryNeed] = ()

    @property
    def next(self) -> MemoryNeed | None:
        """The next method to try on a machine with less memory: the first whose address every script knows."""
        return next((other for other in self.others if other.method.address == Method.HTTP.address), None)

    @property
    def units(self) -> int:
        """The least memory in units, less one: the number of the unit that the end of the memory must reach."""
        return self.least // UNIT - 1


def needs_of(methods: Sequence[Method], sizes: Sizes) -> list[MemoryNeed]:
    """Return the needs of a set's methods, in their order."""
    plain = [MemoryNeed(method, least_memory(method, sizes)) for method in methods]
    return [MemoryNeed(one.method, one.least, [other for other in plain if other.least < one.least]) for one in plain]
