"""The list of a result's content, which each commit makes and ``verify`` compares, against sha256sum(1)."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from bench.measure import Row, Setting, timed
from stagewright.store.content import write_content

FILES, BIG = 12_000, 8
"""Number of small and of large files, as in a Debian root with a compiler."""

TURNS = 3


def measure(setting: Setting) -> list[Row]:
    """Compare the processor time of the list with that of the digests alone. The fastest of some turns counts."""
    tree = _lay_out(setting)

    def listed() -> None:
        (setting.folder / "list").unlink(missing_ok=True)
        write_content([tree], setting.folder / "list", times=True)

    def floor() -> None:
        line = 'find "$1" -type f -print0 | xargs -0 sha256sum > "$2"'
        subprocess.run(["sh", "-c", line, "-", tree, setting.folder / "sums"], check=True)

    (mine, its) = (min(timed(work)[1] for _ in range(TURNS)) for work in (listed, floor))
    entries = sum(len(names) + 1 for _, _, names in os.walk(tree))
    note = f"{mine:.2f} s of processors for {entries} entries, against {its:.2f} s"
    return [Row("list a tree with digests / sha256sum", mine / max(its, 0.001), 2.5, "", note)]


def _lay_out(setting: Setting) -> Path:
    tree, data = setting.folder / "tree", random.Random(1).randbytes(1 << 20)
    for number in range(setting.count(FILES)):
        folder = tree / f"folder{number // 50}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}").write_bytes(data[: 100 + number % 600 * 30])
    for number in range(BIG):
        (tree / f"big{number}").write_bytes(data * (setting.bytes(32 << 20) // len(data)))
    return tree
