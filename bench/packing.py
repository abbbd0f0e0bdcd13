"""Packing a root with its listing and all digests, against tar and the compressor by hand on the same tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.measure import Row, copy_of_demo, cost, stagewright
from stagewright.engine.plan import make_plan
from stagewright.graph.node import Yields
from stagewright.project.load import load
from stagewright.release.archive import Compression, pack
from stagewright.stages.registry import kinds
from stagewright.store.store import Store

EPOCH = 1795132800

_TAR = "tar --sort=name --numeric-owner --xattrs --xattrs-include='*' -C \"$1\" -cf - ."

BY_HAND = {Compression.ZSTD: "zstd -q -T0 -9", Compression.XZ: "xz -T2 -6"}


def measure(folder: Path, store: Path) -> list[Row]:
    """The seed of the demo by zstd; a part of it by xz, which is slow."""
    project = copy_of_demo(folder, "packing")
    stagewright(project, store, "build", "debian", "--progress=quiet")
    opened = Store(store)
    steps = make_plan(load(project, kinds()), opened, ["debian"]).steps
    seed = opened.tree(Yields.LAYER, steps["seed:debian"].key.digest)
    (python,) = (seed / "usr/lib").glob("python3.*")
    return [_row(Compression.ZSTD, seed, folder, 5), _row(Compression.XZ, python, folder, 4)]


def _row(kind: Compression, tree: Path, folder: Path, rounds: int) -> Row:
    """Both in turns, the best of each: whatever else the machine does only adds."""
    ours, floors = [], []
    for number in range(rounds):
        target = folder / f"pack{number}" / f"it.tar.{kind}"
        target.parent.mkdir(exist_ok=True)
        floors.append(cost(lambda: _by_hand(kind, tree, folder / f"hand.{kind}")))
        ours.append(cost(lambda target=target: pack(tree, target, kind.command(kind.level, 2), epoch=EPOCH)))
    (mine, my_cpu), (floor, its_cpu) = (map(min, zip(*costs, strict=True)) for costs in (ours, floors))
    note = f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s"
    return Row(f"packing with digests / tar | {BY_HAND[kind]}", mine / floor, 1.1, "", note)


def _by_hand(kind: Compression, tree: Path, target: Path) -> None:
    subprocess.run(["sh", "-c", f'{_TAR} | {BY_HAND[kind]} > "$2"', "sh", tree, target], check=True)
