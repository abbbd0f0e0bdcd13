"""A set for network boot from ready parts of the demo's sizes: what it costs where there is an ISO already (links)."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from bench.measure import Row
from stagewright.media.arguments import InitramfsKind, KernelArguments
from stagewright.netboot.methods import CommandLine, Method
from stagewright.netboot.writer import NetSet, Parts, write_set

EPOCH = 1795132800
ROUNDS = 5
SIZES = {"kernel": 14 << 20, "initramfs": 21 << 20, "image": 24 << 20}
"""In bytes, as the demo's are."""


def measure(folder: Path, store: Path) -> list[Row]:
    """Links, the combined file, all texts, and digests of everything."""
    del store  # nothing is built
    parts = folder / "netboot-parts"
    parts.mkdir()
    for name, size in SIZES.items():
        (parts / name).write_bytes(os.urandom(size))
    command = CommandLine(InitramfsKind.DRACUT, InitramfsKind.DRACUT.for_network(KernelArguments()))
    wanted = NetSet("bench", command, network=True, methods=[Method.INITRD, Method.HTTP])
    numbers = itertools.count()

    def write() -> None:
        target = folder / f"netboot-{next(numbers)}"
        target.mkdir()
        write_set(Parts(*(parts / name for name in SIZES)), wanted, target, EPOCH)

    costs = []
    for _ in range(ROUNDS):
        before = os.times()
        write()
        after = os.times()
        costs.append((after.user + after.system - before.user - before.system, after.elapsed - before.elapsed))
    processor, clock = min(costs)
    note = f"of a processor; {clock:.2f} s by the clock, digests included"
    return [Row("a set for network boot beside an ISO", processor, 1.0, "s", note)]
