"""An embedded stage from binary packages, against the same emerge and tar by hand in an overlay of the same seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bench.measure import Row, Setting, best, copy_of_demo, median_of, peak_memory, seed_tree, stagewright, timed

ROUNDS = 5

EMERGE = r"""
set -e
mount -t overlay overlay -o "lowerdir=$SEED,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
mkdir -p "$WORK/root/mnt/target" "$WORK/root/var/db/repos/demo"
bwrap --bind "$WORK/root" / --dev /dev --proc /proc --perms 1777 --tmpfs /tmp --unshare-net --unshare-pid \
  --bind "$WORK/target" /mnt/target --ro-bind "$CONFIG" /etc/portage --ro-bind "$REPO" /var/db/repos/demo \
  --ro-bind "$CACHE/distfiles" /var/cache/distfiles --bind "$WORK/binpkgs" /var/cache/binpkgs \
  --bind "$WORK/build" /var/tmp \
  emerge --root=/mnt/target --color=n --nospinner --quiet-build=y $BINARY --jobs=2 $PACKAGES \
  > "$WORK/log"
"""
"""Packages in an empty root, by hand; the environment is that of :func:`environment`."""

_TAR = """
tar -C "$WORK/target" --sort=name --numeric-owner --xattrs --xattrs-include="*" -I "zstd -T0 -9" \
  -cf "$WORK/out.tar.zst" .
"""

LEAST = "sys-apps/demo-baselayout"
"""A package without dependencies, which nothing is compiled for."""

_PACK = '\n[stages.packed]\nkind = "tarball"\nroot = "system"\n'


def measure(setting: Setting) -> list[Row]:
    """Measure Stagewright and the floor in turns, the peak memory of these builds, and an unchanged build."""
    store, project = setting.store, copy_of_demo(setting, "embedded")
    text = (project / "stagewright.toml").read_text(encoding="utf-8") + _PACK
    if setting.tiny:
        text = text.replace('"virtual/demo-system", "app-misc/greet"', f'"{LEAST}"')
    (project / "stagewright.toml").write_text(text, encoding="utf-8")
    stagewright(project, store, "build", "packed", "--progress=quiet")  # seeds, and every binary package
    if not (setting.demo / "stagewright.lock").exists():
        shutil.copy(project / "stagewright.lock", setting.demo)  # the next run finds the seed of this one
    packages = LEAST if setting.tiny else "virtual/demo-system app-misc/greet"
    ours, floors = [], []
    memory: list[float] = []

    def build() -> None:
        memory.append(peak_memory(project, store, "build", "packed", "--progress=quiet"))

    for number in range(setting.count(ROUNDS)):
        changed = text.replace('use = ["-shout"]', f'use = ["-shout"]\nhostname = "bench{time.time_ns()}"')
        (project / "stagewright.toml").write_text(changed, encoding="utf-8")
        ours.append(timed(build))
        work = setting.folder / f"hand{number}"
        floors.append(timed(by_hand(EMERGE + _TAR, environment(project, store, work, packages))))
    unchanged = median_of(
        lambda: stagewright(project, store, "build", "packed", "--progress=quiet"), setting.count(ROUNDS)
    )
    (mine, my_cpu), (floor, its_cpu) = best(ours), best(floors)
    note = f"of processors {my_cpu:.1f} s against {its_cpu:.1f} s, wall time {mine:.1f} s against {floor:.1f} s"
    return [
        Row("embedded stage and tarball / by hand", my_cpu / its_cpu, 1.2, "", note),
        Row("unchanged build", unchanged, 1.0, "s", "the whole command"),
        Row("peak memory of stagewright build", max(memory), 150, "MiB", "largest of all its processes"),
    ]


def environment(project: Path, store: Path, work: Path, packages: str, changed: str = "") -> dict[str, str]:
    """Make the folders of a build by hand, and return the environment of :data:`EMERGE`.

    ``changed`` is a package that is compiled; the others are binary packages.
    """
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
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SEED": str(seed_tree(project, store)),
        "WORK": str(work),
        "REPO": str(project / "repo"),
        "CONFIG": str(work / "config"),
        "CACHE": str(store / "cache"),
        "PACKAGES": packages,
        "BINARY": f"--usepkg=y --usepkg-exclude={changed}" if changed else "--usepkgonly=y",
    }


def by_hand(script: str, env: Mapping[str, str]) -> Callable[[], object]:
    """Return a function that runs a shell script.

    The script is process 1 of its namespace, so the processor time of everything in it counts as that of a child.
    """
    namespace = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    null = subprocess.DEVNULL
    return partial(subprocess.run, [*namespace, "sh", "-ec", script], check=True, env=env, stdout=null, stderr=null)


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
