"""mkosi next to Stagewright: a small Debian root with one folder of own files, packed by zstd in a tarball.

mkosi 14 is the package of Debian 12. Its cache (``Incremental=``) works for tarballs only if there is also one for a
build script. This image has no build script, so an empty file stands for that cache; otherwise mkosi would install all
packages again in each build. Both get the same sources of packages, the same packages, level and threads of zstd.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from bench.measure import Row, Setting, stagewright, timed
from bench.turns import Case, Cost, Pair, rows, table
from stagewright.seeds.apt import codename, sources

ROUNDS = 3

LEVEL = 15
"""The level of zstd, which mkosi 14 does not let its users choose."""

LIMIT = 1.1
"""The largest ratio of a build after a small change: both spend nearly all of it in zstd."""

_CONFIG = """\
[Distribution]
Distribution=debian
Release={suite}
Mirror={mirror}

[Output]
Format=tar
CompressOutput=zstd
ImageId=bench
OutputDirectory=out
WorkspaceDirectory={work}

[Content]
Cache=cache
SkeletonTrees=skeleton
ExtraTrees={extra}
RemoveFiles={left_out}

[Host]
NspawnKeepUnit=yes
"""

_LEFT_OUT = (
    *("var/lib/apt/lists/*", "var/cache/apt/*.bin", "usr/lib/*/gconv"),
    *("usr/share/i18n", "usr/share/bash-completion", "usr/share/bug"),
)
"""Files that Stagewright leaves out of a seed, so mkosi leaves them out, too."""

_PROJECT = """\
format = 1

[project]
name = "peer"
version = "1.0"
source_date_epoch = 2026-11-20

[seeds.base]
{seed}

[stages.system]
kind = "livecd-stage1"
root = "base"
root_overlay = ["extra"]

[stages.packed]
kind = "tarball"
root = "system"
level = {level}
"""


def usable() -> bool:
    """Return True if mkosi 14 is installed: later versions have other files of settings."""
    if shutil.which("mkosi") is None:
        return False
    version = subprocess.run(["mkosi", "--version"], check=True, capture_output=True, text=True).stdout
    return version.split()[1:] == ["14"]


class Peer:
    """mkosi, ready to build in a folder."""

    def __init__(self, folder: Path, suite: str, extra: Path) -> None:
        """Write the configuration. ``extra`` is the folder with the files of the image that are not from packages."""
        self.folder, self._suite = folder, suite
        lines = [line.split(maxsplit=3) for line in sources(suite)]
        [mirror] = [uri for _, uri, release, _ in lines if release == suite]
        lists = folder / "skeleton/etc/apt/sources.list.d"
        for made in (lists, folder / "work", folder / "cache", self._images):
            made.mkdir(parents=True)
        more = [f"deb {uri} {release} {parts}\n" for _, uri, release, parts in lines if release != suite]
        (lists / f"{suite}-updates.list").write_text("", encoding="utf-8")  # both names replace those of mkosi
        (lists / f"{suite}-security.list").write_text("".join(more), encoding="utf-8")
        names = {
            "suite": suite,
            "mirror": mirror,
            "extra": extra,
            "left_out": ",".join(f"/{name}" for name in _LEFT_OUT),
        }
        config = _CONFIG.format(work=folder / "work", **names)  # apt needs the whole path
        (folder / "mkosi.default").write_text(config, encoding="utf-8")
        (self._images / "bench.cache-pre-dev").touch()
        self.kept = self._images / "bench.cache-pre-inst"

    @property
    def _images(self) -> Path:
        return self.folder / f"out/debian~{self._suite}"

    @property
    def image(self) -> Path:
        """Path of the tarball."""
        return self._images / "bench.tar.zstd"

    def build(self) -> None:
        """Run mkosi. It refuses to replace an image without ``--force``; given once, that keeps the cached root."""
        with (self.folder / "log").open("w", encoding="utf-8") as log:
            words = ["mkosi", "--incremental", "--force", "build"]
            done = subprocess.run(words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        assert done.returncode == 0 and self.image.exists(), f"mkosi made no tarball:\n{text[-3000:]}"

    def shrink(self) -> None:
        """Remove from the cached root what no image has, so that mkosi does not copy it in each build."""
        for path in (path for name in _LEFT_OUT for path in self.kept.glob(name)):
            subprocess.run(["rm", "-rf", path], check=True)

    def packages(self) -> list[str]:
        """Return the names of the packages in the cached root, in order."""
        status = (self.kept / "var/lib/dpkg/status").read_text(encoding="utf-8")
        return sorted(line.split()[1] for line in status.splitlines() if line.startswith("Package: "))


class Ground:
    """The same tarball by both programs, in new folders."""

    def __init__(self, setting: Setting) -> None:
        """Prepare both. A tiny root is a few files, and mkosi finds them in its cache."""
        self.project, self.store = setting.folder / "project", setting.folder / "store"
        (self.project / "extra/etc").mkdir(parents=True)
        self.peer = Peer(setting.folder / "mkosi", codename(), self.project / "extra")
        self.change(0)
        if setting.tiny:
            for root in (self.project / "base", self.peer.kept):
                for name in ("etc", "usr/bin", "usr/lib"):
                    (root / name).mkdir(parents=True)
                (root / "etc/issue").write_text("tiny\n", encoding="utf-8")
            self._write('file = "base"')

    def change(self, number: int) -> None:
        """Change the one file of the image that is not from packages."""
        (self.project / "extra/etc/motd").write_text(f"This is image {number}.\n", encoding="utf-8")

    def first(self) -> tuple[Cost, Cost]:
        """Build with empty caches: first with mkosi, because Stagewright gets the same packages. Return both costs."""
        theirs = timed(self.theirs)
        self.peer.shrink()
        self._write(f'bootstrap = "debian"\nportage = ""\npackages = {json.dumps(self.peer.packages())}')
        return timed(self.ours), theirs

    def ours(self) -> None:
        """Build stage and tarball with Stagewright."""
        stagewright(self.project, self.store, "build", "packed", "--progress=quiet")

    def theirs(self) -> None:
        """Build the tarball with mkosi."""
        self.peer.build()

    def _write(self, seed: str) -> None:
        (self.project / "stagewright.toml").write_text(_PROJECT.format(seed=seed, level=LEVEL), encoding="utf-8")


def measure(setting: Setting) -> list[Row]:
    """Print the table of all cases, and return the rows of builds after a small change."""
    assert usable(), "mkosi 14 is not installed; Debian 12 has it"
    ground = Ground(setting)
    pair, rounds = Pair(ground.ours, ground.theirs), setting.count(ROUNDS)
    found = [] if setting.tiny else [("first build, nothing cached", *ground.first())]
    changed = Case("one own file changed", rounds, lambda number: ground.change(number + 1))
    for case in (Case("again, nothing changed", rounds), changed):
        found.append((case.what, *pair.costs(case)))
    print("\n".join(table("Debian root and tarball", "mkosi 14", found)))
    [ours] = (ground.project / "out").glob("*.tar.zst")
    sizes = [path.stat().st_size / 2**20 for path in (ours, ground.peer.image)]
    print(f"size of the tarball: {sizes[0]:.1f} MiB, mkosi {sizes[1]:.1f} MiB", flush=True)
    [*_, (_, *costs)] = found
    return rows("Debian tarball, a file changed / mkosi", (costs[0], costs[1]), LIMIT)
