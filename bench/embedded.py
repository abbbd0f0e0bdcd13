"""An embedded stage from binary packages, against the same emerge and tar by hand in an overlay of the same seed."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from bench.measure import Row, Setting, copy_of_demo, median_of, seed_tree, stagewright, stagewright_cost

ROUNDS = 3

_BY_HAND = r"""
set -e
mount -t overlay overlay -o "lowerdir=$SEED,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
mkdir -p "$WORK/root/mnt/target" "$WORK/root/var/db/repos/demo"
bwrap --bind "$WORK/root" / --dev /dev --proc /proc --perms 1777 --tmpfs /tmp --unshare-net --unshare-pid \
  --bind "$WORK/target" /mnt/target --ro-bind "$CONFIG" /etc/portage --ro-bind "$REPO" /var/db/repos/demo \
  --ro-bind "$CACHE/distfiles" /var/cache/distfiles --bind "$WORK/binpkgs" /var/cache/binpkgs \
  --bind "$WORK/build" /var/tmp \
  emerge --root=/mnt/target --color=n --nospinner --quiet-build=y --usepkgonly=y --jobs=2 $PACKAGES \
  > "$WORK/log"
tar -C "$WORK/target" --sort=name --numeric-owner --xattrs --xattrs-include="*" -I "zstd -T0 -9" \
  -cf "$WORK/out.tar.zst" .
"""

_LEAST = "sys-apps/demo-baselayout"
"""A package without dependencies, which nothing is compiled for."""

_PACK = '\n[stages.packed]\nkind = "tarball"\nroot = "system"\n'


def measure(setting: Setting) -> list[Row]:
    """Measure Stagewright and the floor in turns, the peak memory of these builds, and an unchanged build."""
    store, project = setting.store, copy_of_demo(setting, "embedded")
    text = (project / "stagewright.toml").read_text(encoding="utf-8") + _PACK
    if setting.tiny:
        text = text.replace('"virtual/demo-system", "app-misc/greet"', f'"{_LEAST}"')
    (project / "stagewright.toml").write_text(text, encoding="utf-8")
    stagewright(project, store, "build", "packed", "--progress=quiet")  # seeds, and every binary package
    if not (setting.demo / "stagewright.lock").exists():
        shutil.copy(project / "stagewright.lock", setting.demo)  # the next run finds the seed of this one
    packages = _LEAST if setting.tiny else "virtual/demo-system app-misc/greet"
    ours, floors, memory = [], [], []
    for number in range(setting.count(ROUNDS)):
        changed = text.replace('use = ["-shout"]', f'use = ["-shout"]\nhostname = "bench{time.time_ns()}"')
        (project / "stagewright.toml").write_text(changed, encoding="utf-8")
        wall, peak = stagewright_cost(project, store, "build", "packed", "--progress=quiet")
        ours.append(wall)
        memory.append(peak)
        floors.append(_by_hand(project, store, setting.folder / f"hand{number}", packages))
    unchanged = median_of(
        lambda: stagewright(project, store, "build", "packed", "--progress=quiet"), setting.count(ROUNDS)
    )
    mine, floor = statistics.median(ours), statistics.median(floors)
    return [
        Row("embedded stage and tarball / by hand", mine / floor, 1.6, "", f"{mine:.1f} s against {floor:.1f} s"),
        Row("unchanged build", unchanged, 1.0, "s", "the whole command"),
        Row("peak memory of stagewright build", max(memory), 150, "MiB", "largest of all its processes"),
    ]


def _by_hand(project: Path, store: Path, work: Path, packages: str) -> float:
    """Run the same emerge and tar as a shell script, and return its wall time in seconds."""
    for name in ("upper", "work", "root", "target", "build", "config"):
        (work / name).mkdir(parents=True)
    (work / "build").chmod(0o1777)
    (work / "config" / "make.conf").write_text(
        'FEATURES="-news -sandbox -usersandbox -network-sandbox -ipc-sandbox -pid-sandbox -merge-sync '
        'binpkg-multi-instance -pkgdir-index-trusted"\nUSE="-shout"\nBINPKG_FORMAT="gpkg"\n',
        encoding="utf-8",
    )
    (work / "config" / "make.profile").symlink_to("/var/db/repos/demo/profiles/default/linux/amd64")
    (work / "config" / "repos.conf").write_text(
        "[DEFAULT]\nmain-repo = demo\n[demo]\nlocation = /var/db/repos/demo\n", encoding="utf-8"
    )
    _link_packages(store / "cache" / "binpkgs", work / "binpkgs")
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SEED": str(seed_tree(project, store)),
        "WORK": str(work),
        "REPO": str(project / "repo"),
        "CONFIG": str(work / "config"),
        "CACHE": str(store / "cache"),
        "PACKAGES": packages,
    }
    started = time.perf_counter()
    subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", _BY_HAND], check=True, env=env)
    return time.perf_counter() - started


def _link_packages(cache: Path, target: Path) -> None:
    """Make a PKGDIR with the newest binary package of each version in the cache."""
    target.mkdir()
    newest_first = sorted(cache.glob("*/*/*/*/*.gpkg.tar"), key=lambda path: -path.stat().st_mtime)
    for source in newest_first:
        category, name = source.relative_to(cache).parts[:2]
        place = target / category / name / source.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.link(source, place)
