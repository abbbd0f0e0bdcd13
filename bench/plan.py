"""Plans: 500 stages that stand on each other, and how much memory Stagewright takes for that."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bench.measure import Row, median_of, peak_memory, stagewright

STAGES = 500


def measure(folder: Path, store: Path) -> list[Row]:
    """Time ``plan`` on a synthetic project against ``kinds``, which loads the same code and does next to nothing.

    The first call also fills the memory of digests.
    """
    project = _synthetic(folder / "synthetic")
    stagewright(project, store, "plan")
    floor = median_of(lambda: stagewright(project, store, "kinds"))
    seconds = median_of(lambda: stagewright(project, store, "plan"))
    note = f"{seconds:.2f} s against {floor:.2f} s, from start to exit"
    return [
        Row(f"plan of {STAGES} stages / kinds", seconds / floor, 3, "", note),
        Row("peak memory of stagewright plan", peak_memory(), 150, "MiB"),
    ]


def _synthetic(folder: Path) -> Path:
    (folder / "overlay" / "etc").mkdir(parents=True)
    for number in range(200):
        (folder / "overlay" / "etc" / f"file{number}").write_text(f"{number}\n", encoding="utf-8")
    with tarfile.open(folder / "seed.tar", "w") as archive:
        archive.add(folder / "overlay", "usr")
    lines = ["format = 1", '[project]\nname = "bench"\nsource_date_epoch = 0', '[seeds.seed]\nfile = "seed.tar"']
    for number in range(STAGES):
        below = "seed" if number < 10 else f"stage{number - 10}"
        lines.append(
            f'[stages.stage{number}]\nkind = "livecd-stage1"\nroot = "{below}"\n'
            f'root_overlay = ["overlay"]\nos_release = {{ VERSION = "{number}" }}\nrm = ["/tmp/*", "/var/tmp/*"]'
        )
    (folder / "stagewright.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
