"""Catalyst on its own ground: the embedded stage of the demo, by a checkout of Catalyst and by Stagewright.

Both get the same tarball of the demo's seed, the same ebuilds and sources, zstd, and an empty cache of packages.
Catalyst runs in a root that is made of that seed: it imports Portage. It needs three other Python packages, and
libmount, for which :data:`_LIBMOUNT` stands. Its first call of emerge, ``--onlydeps``, would install the dependencies
of the packages into the root that builds, so its ebuilds have no dependencies, and its spec lists all packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.embedded import LEAST
from bench.measure import Row, Setting, copy_of_demo, stagewright
from bench.turns import Case, Pair, rows, table

ROUNDS = 5

PACKAGES = "snakeoil==0.11.4", "tomli", "fasteners"
"""Packages of Python that Catalyst imports, besides Portage, libmount and DeComp."""

_LIBMOUNT = """\
import subprocess

class _Table:
    def next_fs(self):
        return None

class Context:
    mtab = _Table()

    def __init__(self, source="", target="", fstype="", options=""):
        if fstype == "squashfs":
            source, fstype, options = source + ".content", "", "bind"
        kind = ["-t", fstype] if fstype else []
        self._words = ["mount", *kind, *(["-o", options] if options else []), source, target]

    def mount(self):
        subprocess.run(self._words, check=True)
"""

_CONFIG = """\
storedir = "/srv/catalyst"
sharedir = "/opt/catalyst"
repo_name = "demo"
distdir = "/srv/distfiles"
options = ["pkgcache"]
jobs = {jobs}
"""

_SPEC = """\
subarch: amd64
target: embedded
version_stamp: {stamp}
rel_type: bench
profile: default/linux/amd64
snapshot_treeish: bench
source_subpath: seed
compression_mode: zstd
embedded/use: -shout
embedded/packages: {packages}
"""

_RUN = r"""
set -e
for name in catalyst decomp python; do mount --bind "$WORK/opt/$name" "$WORK/root/opt/$name"; done
mount --bind "$WORK/srv" "$WORK/root/srv"
mount --rbind /dev "$WORK/root/dev"
mount -t proc proc "$WORK/root/proc"
exec chroot "$WORK/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    PYTHONPATH=/opt/catalyst:/opt/python:/opt/decomp \
    python3 /opt/catalyst/bin/catalyst --nocolor --configs /srv/catalyst.conf --file "/srv/$SPEC" > "$WORK/log" 2>&1
"""

_FEATURES = (
    'FEATURES="-sandbox -usersandbox -network-sandbox -ipc-sandbox -pid-sandbox -mount-sandbox -merge-sync"\n'
    'BINPKG_FORMAT="gpkg"\nBINPKG_COMPRESS="zstd"\nBINPKG_COMPRESS_FLAGS="-3"\n'
)
"""Settings of the demo's stage, for the profile of Catalyst's copy of the repository: Catalyst writes make.conf."""

_STAGES = """
[stages.packed]
kind = "tarball"
root = "system"
level = 3
"""


@dataclass(frozen=True)
class Checkouts:
    """Folders with the sources of Catalyst and of its library DeComp."""

    catalyst: Path
    decomp: Path


class Peer:
    """Catalyst, ready to build the demo's packages in a folder."""

    def __init__(self, folder: Path, checkouts: Checkouts, tarball: Path, demo: Path, distfiles: Path) -> None:
        """Prepare the root in which Catalyst runs, and the inputs of its build. ``tarball`` is that of the seed."""
        self.folder = folder
        for name in ("root/opt/catalyst", "root/opt/decomp", "root/opt/python", "root/srv", "opt"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-C", folder / "root", "--numeric-owner", "-xpf", tarball], check=True)
        for name in ("resolv.conf", "hosts"):
            (folder / "root/etc" / name).touch()
        self._stamps = 0
        shutil.copytree(checkouts.catalyst, folder / "opt/catalyst", ignore=shutil.ignore_patterns(".git"))
        shutil.copytree(checkouts.decomp, folder / "opt/decomp", ignore=shutil.ignore_patterns(".git"))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", folder / "opt/python", *PACKAGES], check=True)
        (folder / "opt/python/libmount.py").write_text(_LIBMOUNT, encoding="utf-8")
        (folder / "srv/catalyst/builds").mkdir(parents=True)
        (folder / "srv/catalyst/snapshots").mkdir()
        os.link(tarball, folder / "srv/catalyst/builds/seed.tar.zst")
        shutil.copytree(distfiles, folder / "srv/distfiles", ignore=shutil.ignore_patterns(".projects"))
        self.repo = folder / "repo"
        shutil.copytree(demo / "repo", self.repo)
        with (self.repo / "profiles/base/make.defaults").open("a", encoding="utf-8") as file:
            file.write(_FEATURES)
        (folder / "srv/catalyst.conf").write_text(_CONFIG.format(jobs=os.cpu_count()), encoding="utf-8")
        self.snapshot()

    def snapshot(self) -> None:
        """Make the snapshot of the ebuilds again, without their dependencies.

        :data:`_LIBMOUNT` mounts a folder in the place of the image, so no loop device is needed.
        """
        image = self.folder / "srv/catalyst/snapshots/demo-bench.sqfs"
        image.touch()
        copy = image.with_name(f"{image.name}.content")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.repo, copy)
        for ebuild in copy.glob("*/*/*.ebuild"):
            ebuild.write_text(ebuild.read_text(encoding="utf-8") + 'RDEPEND=""\n', encoding="utf-8")

    def build(self, packages: str) -> None:
        """Run Catalyst with a new version stamp."""
        self._stamps += 1
        name = f"bench{self._stamps}.spec"
        spec = _SPEC.format(stamp=self._stamps, packages=packages)
        (self.folder / "srv" / name).write_text(spec, encoding="utf-8")
        env = {"PATH": os.environ["PATH"], "WORK": str(self.folder), "SPEC": name}
        words = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c", _RUN]
        subprocess.run(words, check=True, env=env)
        made = (self.folder / "srv/catalyst/builds/bench").glob(f"embedded-amd64-{self._stamps}.tar.zst*")
        assert any(made), f"Catalyst made no tarball; its log is {self.folder / 'log'}"


class Ground:
    """The same stage by both programs. ``checkouts`` are those of Catalyst."""

    def __init__(self, setting: Setting, checkouts: Checkouts) -> None:
        """Make the tarball of the seed, and prepare both programs."""
        demo = copy_of_demo(setting, "seed")
        file = demo / "stagewright.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text + '\n[stages.seedball]\nkind = "tarball"\nroot = "debian"\n', encoding="utf-8")
        stagewright(demo, setting.store, "build", "seedball", "--progress=quiet")
        stagewright(demo, setting.store, "fetch", "system", "--progress=quiet")
        [tarball] = (demo / "out").glob("debian-*.tar.zst")
        distfiles = setting.store / "cache/distfiles"
        self.project, self.store = copy_of_demo(setting, "ground"), setting.folder / "ground-store"
        self._text = text.replace('bootstrap = "debian"\n', 'file = "seed.tar.zst"\narch = "amd64"\n', 1) + _STAGES
        self._text = self._text.replace("[project]", f'[distfiles]\nfolder = "{distfiles}"\n\n[project]', 1)
        (self.project / "stagewright.lock").unlink(missing_ok=True)
        os.link(tarball, self.project / "seed.tar.zst")
        if setting.tiny:
            self._text = self._text.replace('"virtual/demo-system", "app-misc/greet"', f'"{LEAST}"')
        self.set_host_name("first")
        self.peer = Peer(setting.folder / "catalyst", checkouts, tarball, demo, distfiles)
        ebuilds = [path.parts[-3:-1] for path in sorted(self.peer.repo.glob("*/*/*.ebuild"))]
        every = " ".join("/".join(names) for names in ebuilds if names[1] not in _NOT_BUILT)
        self.packages = LEAST if setting.tiny else every

    def set_host_name(self, name: str) -> None:
        """Change a setting of the stage, so that Stagewright builds it again from binary packages."""
        text = self._text.replace('use = ["-shout"]', f'use = ["-shout"]\nhostname = "{name}"')
        (self.project / "stagewright.toml").write_text(text, encoding="utf-8")

    def new_revision(self, number: int) -> None:
        """Change a file of one package in both repositories, and give its ebuild a new revision."""
        for repo in (self.project / "repo", self.peer.repo):
            [ebuild] = (repo / "app-misc/greet").glob("*.ebuild")
            ebuild.rename(ebuild.with_name(f"greet-1.0-r{number}.ebuild"))
            with (repo / "app-misc/greet/files/greet").open("a", encoding="utf-8") as file:
                file.write(f"# {number}\n")
        self.peer.snapshot()

    def ours(self) -> None:
        """Build stage and tarball with Stagewright."""
        stagewright(self.project, self.store, "build", "packed", "--progress=quiet")

    def theirs(self) -> None:
        """Build stage and tarball with Catalyst."""
        self.peer.build(self.packages)


_NOT_BUILT = ("stagewright-install", "stagewright-update", "update-tools")
"""Packages of the demo's repository that its system does not have."""


def measure(setting: Setting) -> list[Row]:
    """Print the table of all cases, and return the rows of builds from cached packages."""
    assert setting.catalyst and setting.decomp, "the command line requires both"
    ground = Ground(setting, Checkouts(setting.catalyst, setting.decomp))
    pair, rounds = Pair(ground.ours, ground.theirs), setting.count(ROUNDS)
    cases = (
        Case("first build, all packages from source"),
        Case("again, nothing changed", rounds),
        Case("a setting of the stage changed", rounds, lambda number: ground.set_host_name(f"table{number}")),
        Case("a file of one package changed", rounds, lambda number: ground.new_revision(number + 1)),
    )
    found = [(case.what, *pair.costs(case)) for case in cases]
    print("\n".join(table("embedded stage and tarball", "Catalyst", found)), flush=True)
    cached = Case("from cached packages", rounds, lambda number: ground.set_host_name(f"row{number}"))
    return rows("embedded stage and tarball / Catalyst", pair.costs(cached), 0.9)
