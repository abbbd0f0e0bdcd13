"""Unpacking a seed in its sandbox, with a scan of its headers, against tar by hand on the same archive."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

from bench.measure import Row, Setting, timed, tree_to_pack
from stagewright.seeds.unpack import unpack

_PACK = 'tar --numeric-owner --xattrs --xattrs-include=\'*\' -C "$1" -cf - . | xz -T2 -1 > "$2"'
_BY_HAND = 'tar --extract --numeric-owner --same-permissions --xattrs --xattrs-include=\'*\' -f "$1" -C "$2"'


def measure(setting: Setting) -> list[Row]:
    """Unpack the demo's seed, packed by xz as stage3s are."""
    folder, seed = setting.folder, tree_to_pack(setting, "unpacking")
    archive = folder / "seed.tar.xz"
    subprocess.run(["sh", "-c", _PACK, "sh", seed, archive], check=True)
    ours: list[float] = []
    floors: list[float] = []
    for number in range(setting.count(4)):
        for seconds, by_hand in ((floors, True), (ours, False)):
            target = folder / f"unpacked{number}-{by_hand}"
            target.mkdir()
            seconds.append(timed(_unpack, archive, target, by_hand=by_hand)[0])
            shutil.rmtree(target)
    mine, floor = min(ours), min(floors)
    return [Row("unpacking a seed / tar -x", mine / floor, 1.2, "", f"{mine:.2f} s against {floor:.2f} s")]


def _unpack(archive: Path, target: Path, *, by_hand: bool) -> None:
    if by_hand:
        subprocess.run(["sh", "-c", _BY_HAND, "sh", archive, target], check=True)
    else:
        unpack(archive, target, io.StringIO())
