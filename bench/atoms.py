"""Checking atoms in a repository of Gentoo's size: only the named packages are read."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench.measure import Row, Setting, stagewright, timed

EBUILDS = 34_000
ATOMS = 300
VERSIONS = 2
ROUNDS = 5

_CACHE = "DESCRIPTION=x\nEAPI=8\nIUSE=+a b\nKEYWORDS=amd64 ~arm64\nLICENSE=x\nSLOT=0/2\nDEFINED_PHASES=-\n"


def measure(setting: Setting) -> list[Row]:
    """Compare ``check`` of a stage in a large repository with that in one that has only the packages of the stage."""
    atoms = setting.count(ATOMS)
    names = [f"app-{number % 100:02}/package{number}" for number in range(setting.count(EBUILDS) // VERSIONS)]
    large = _project(setting.folder / "large", names, atoms)
    small = _project(setting.folder / "small", names[:atoms], atoms)
    rounds = setting.count(ROUNDS)
    floor = _cpu_seconds(small, setting, rounds)
    seconds = _cpu_seconds(large, setting, rounds)
    note = f"CPU time: {seconds:.2f} s against {floor:.2f} s in a repository of {atoms} packages"
    return [
        Row(f"check of {atoms} atoms, {len(names) * VERSIONS} ebuilds / few", seconds / floor, 1.5, "", note),
        Row(f"check in {len(names) * VERSIONS} ebuilds, CPU time", seconds, 1, "s"),
    ]


def _cpu_seconds(project: Path, setting: Setting, rounds: int) -> float:
    """Return the median of the CPU time of ``check``, user and system (seconds): other load does not count."""
    return statistics.median(timed(stagewright, project, setting.store, "check")[1] for _ in range(rounds))


def _project(folder: Path, names: list[str], atoms: int) -> Path:
    """Write a project with a repository of these packages, and a stage with the first of them."""
    repo = folder / "repo"
    for name in names:
        category, _, package = name.partition("/")
        (repo / name).mkdir(parents=True)
        (repo / "metadata/md5-cache" / category).mkdir(parents=True, exist_ok=True)
        for version in range(VERSIONS):
            (repo / name / f"{package}-{version}.ebuild").write_text("EAPI=8\n", encoding="utf-8")
            (repo / "metadata/md5-cache" / category / f"{package}-{version}").write_text(_CACHE, encoding="utf-8")
    (repo / "profiles/base").mkdir(parents=True)
    (repo / "profiles/repo_name").write_text("bench\n", encoding="utf-8")
    (repo / "profiles/base/make.defaults").write_text('ARCH="amd64"\nACCEPT_KEYWORDS="amd64"\n', encoding="utf-8")
    (repo / "profiles/package.mask").write_text("".join(f"<{name}-0\n" for name in names[:2000]), encoding="utf-8")
    wanted = json.dumps([f">={name}-0:0[a]" for name in names[:atoms]])
    (folder / "seed.tar").touch()
    (folder / "stagewright.toml").write_text(
        'format = 1\n[project]\nname = "bench"\nsource_date_epoch = 0\n[repos.bench]\npath = "repo"\nmain = true\n'
        '[seeds.seed]\nfile = "seed.tar"\n[stages.a]\nkind = "stage4"\nroot = "seed"\nprofile = "base"\n'
        f"packages = {wanted}\n",
        encoding="utf-8",
    )
    return folder
