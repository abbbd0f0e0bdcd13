"""Writing a set for network boot from ready parts of the demo's sizes, by hard links as next to an ISO."""

from __future__ import annotations

import itertools
import os

from bench.measure import Row, Setting, best, timed
from stagewright.media.arguments import InitramfsKind, KernelArguments
from stagewright.netboot.methods import CommandLine, Method
from stagewright.netboot.writer import NetSet, NetSetParts, write_set

EPOCH = 1795132800
ROUNDS = 5
SIZES = {"kernel": 14 << 20, "initramfs": 21 << 20, "image": 24 << 20}
"""Parts of the demo, in bytes."""


def measure(setting: Setting) -> list[Row]:
    """Write links, the combined file, all texts, and digests of everything."""
    folder = setting.folder
    parts = folder / "netboot-parts"
    parts.mkdir()
    for name, size in SIZES.items():
        (parts / name).write_bytes(os.urandom(setting.bytes(size)))
    command = CommandLine(InitramfsKind.DRACUT, InitramfsKind.DRACUT.for_network(KernelArguments()))
    wanted = NetSet("bench", command, [Method.INITRD, Method.HTTP])
    numbers = itertools.count()

    def write() -> None:
        target = folder / f"netboot-{next(numbers)}"
        target.mkdir()
        write_set(NetSetParts(parts / "kernel", parts / "initramfs", parts / "image"), wanted, target, EPOCH)

    clock, processor = best([timed(write) for _ in range(setting.count(ROUNDS))])
    note = f"of a processor; {clock:.2f} s by the clock, digests included"
    return [Row("a set for network boot next to an ISO", processor, 1.0, "s", note)]
