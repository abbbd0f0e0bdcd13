"""Packing a root with its listing and all digests, against tar and the compressor by hand on the same tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.measure import Row, Setting, best, timed, tree_to_pack
from stagewright.release.archive import Compression, pack

EPOCH = 1795132800

_TAR = "tar --sort=name --numeric-owner --xattrs --xattrs-include='*' -C \"$1\" -cf - ."

BY_HAND = {Compression.ZSTD: "zstd -q -T0 -9", Compression.XZ: "xz -T2 -6"}


def measure(setting: Setting) -> list[Row]:
    """Pack the demo's seed by zstd, and a part of it by xz, which is slow."""
    seed = tree_to_pack(setting, "packing")
    (python,) = (seed / "usr/lib").glob("python3.*")
    return [_row(Compression.ZSTD, seed, setting, 5), _row(Compression.XZ, python, setting, 4)]


def _row(kind: Compression, tree: Path, setting: Setting, rounds: int) -> Row:
    """Measure Stagewright and the floor in turns."""
    folder = setting.folder
    ours, floors = [], []
    for number in range(setting.count(rounds)):
        target = folder / f"pack{number}" / f"it.tar.{kind}"
        target.parent.mkdir(exist_ok=True)
        floors.append(timed(_by_hand, kind, tree, folder / f"hand.{kind}"))
        ours.append(timed(pack, tree, target, kind.command(kind.level, 2), epoch=EPOCH))
    (mine, my_cpu), (floor, its_cpu) = map(best, (ours, floors))
    note = f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s"
    return Row(f"packing with digests / tar | {BY_HAND[kind]}", mine / floor, 1.1, "", note)


def _by_hand(kind: Compression, tree: Path, target: Path) -> None:
    subprocess.run(["sh", "-c", f'{_TAR} | {BY_HAND[kind]} > "$2"', "sh", tree, target], check=True)
