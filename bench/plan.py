"""Planning 500 stages that build on each other, and one of 20,000 stages: time and memory."""

from __future__ import annotations

import tarfile
import time
import tomllib
from pathlib import Path

from bench.measure import Row, Setting, median_of, peak_memory, stagewright, timed

STAGES = 500
MANY = 20_000
FILES = 200
ROUNDS = 5


def measure(setting: Setting) -> list[Row]:
    """Compare ``plan`` of a synthetic project with ``kinds``, which loads the same code and does almost nothing.

    The first call also fills the store's cache of digests.
    """
    store, stages = setting.store, setting.count(STAGES)
    project = _synthetic(setting.folder / "synthetic", stages, setting.count(FILES))
    memory = peak_memory(project, store, "plan")
    floor = median_of(lambda: stagewright(project, store, "kinds"), setting.count(ROUNDS))
    seconds = median_of(lambda: stagewright(project, store, "plan"), setting.count(ROUNDS))
    note = f"{seconds:.2f} s against {floor:.2f} s, from start to exit"
    return [
        Row(f"plan of {stages} stages / kinds", seconds / floor, 3, "", note),
        Row("peak memory of stagewright plan", memory, 150, "MiB"),
        *_one_of_many(setting),
    ]


def _one_of_many(setting: Setting) -> list[Row]:
    """Compare ``plan`` of one target of a large project with reading its file as TOML, by processor time.

    A plan that reads what the target needs takes less: the limit is two seconds, where tomllib takes one.
    """
    count = setting.count(MANY)
    project = _synthetic(setting.folder / "many", count, 1)
    memory = peak_memory(project, setting.store, "plan", "stage7")
    started = time.process_time()
    tomllib.loads((project / "stagewright.toml").read_text(encoding="utf-8"))
    floor = time.process_time() - started
    seconds = timed(stagewright, project, setting.store, "plan", "stage7")[1]
    note = f"{seconds:.2f} s against {floor:.2f} s, processor time"
    return [
        Row(f"plan of one of {count} stages / tomllib", seconds / floor, 2, "", note),
        Row(f"peak memory of the plan of one of {count} stages", memory, 150, "MiB"),
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
