"""A folder of many files as a seed: the command that brings it into the store, against cp(1) and sha256sum(1)."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

from bench.measure import Row, Setting, best, stagewright, timed

FOLDERS, FILES = 6000, 50
"""Number of folders, and of files in each: 6 KB on average, as in a root."""

ROUNDS = 2

_PROJECT = 'format = 1\n[project]\nname = "seeds"\n[seeds.tree]\nfile = "root"\n'
_BY_HAND = 'cp -a "$1" "$2" && find "$1" -type f -print0 | xargs -0 sha256sum > "$2.sums"'


def measure(setting: Setting) -> list[Row]:
    """Compare a build after a change of one file with a copy and the digests of all files, in turns.

    The command includes the look for changed files. Processor time counts: both wait for the disk. Nothing is removed
    before the end, because ext4 looks long for inodes after that.
    """
    project = setting.folder / "project"
    folders = setting.count(FOLDERS)
    _fill(project / "root/usr/share", folders)
    (project / "stagewright.toml").write_text(_PROJECT, encoding="utf-8")
    store = setting.folder / "store"
    stagewright(project, store, "plan")
    ours, floors = [], []
    for turn in range(setting.count(ROUNDS)):
        copy = setting.folder / f"copy{turn}"
        (project / "root/usr/changed").write_text(f"{time.time_ns()}\n", encoding="utf-8")
        ours.append(timed(stagewright, project, store, "build", "tree", "--progress=quiet"))
        floors.append(timed(subprocess.run, ["sh", "-ec", _BY_HAND, "sh", project / "root", copy], check=True))
    (mine, my_cpu), (floor, its_cpu) = best(ours), best(floors)
    note = f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s"
    return [Row(f"folder seed of {folders * FILES} files / cp -a + sha256sum", my_cpu / its_cpu, 1.3, "", note)]


def _fill(tree: Path, folders: int) -> None:
    chance = random.Random(1)
    data = chance.randbytes(1 << 20)
    for number in range(folders):
        folder = tree / f"part{number // 60}" / f"package{number}"
        folder.mkdir(parents=True)
        for file in range(FILES):
            start = chance.randrange(1 << 19)
            (folder / f"file{file}").write_bytes(data[start : start + chance.randrange(200, 12_000)])
