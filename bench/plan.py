"""Planning 500 stages that build on each other: time and memory."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bench.measure import Row, Setting, median_of, stagewright, stagewright_cost

STAGES = 500
FILES = 200
ROUNDS = 5


def measure(setting: Setting) -> list[Row]:
    """Compare ``plan`` of a synthetic project with ``kinds``, which loads the same code and does almost nothing.

    The first call also fills the store's cache of digests.
    """
    store, stages = setting.store, setting.count(STAGES)
    project = _synthetic(setting.folder / "synthetic", stages, setting.count(FILES))
    memory = stagewright_cost(project, store, "plan")[1]
    floor = median_of(lambda: stagewright(project, store, "kinds"), setting.count(ROUNDS))
    seconds = median_of(lambda: stagewright(project, store, "plan"), setting.count(ROUNDS))
    note = f"{seconds:.2f} s against {floor:.2f} s, from start to exit"
    return [
        Row(f"plan of {stages} stages / kinds", seconds / floor, 3, "", note),
        Row("peak memory of stagewright plan", memory, 150, "MiB"),
    ]


def _synthetic(folder: Path, stages: int, files: int) -> Path:
    """Write a project: each stage is built on the stage ten places before it."""
    (folder / "overlay" / "etc").mkdir(parents=True)
    for number in range(files):
        (folder / "overlay" / "etc" / f"file{number}").write_text(f"{number}\n", encoding="utf-8")
    with tarfile.open(folder / "seed.tar", "w") as archive:
        archive.add(folder / "overlay", "usr")
    lines = ["format = 1", '[project]\nname = "bench"\nsource_date_epoch = 0', '[seeds.seed]\nfile = "seed.tar"']
    for number in range(stages):
        below = "seed" if number < 10 else f"stage{number - 10}"
        lines.append(
            f'[stages.stage{number}]\nkind = "livecd-stage1"\nroot = "{below}"\n'
            f'root_overlay = ["overlay"]\nos_release = {{ VERSION = "{number}" }}\nrm = ["/tmp/*", "/var/tmp/*"]'
        )
    (folder / "stagewright.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
