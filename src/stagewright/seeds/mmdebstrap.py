"""Runs of mmdebstrap(1), which share indexes and packages by the cache of the store (``seeds/apt_cache.py``).

A root takes two runs. The first one fetches what the cache does not have, and runs no code of a package. The second
one makes the root from the files of the cache. Other seeds that fetch from the same sources wait for the first run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stagewright.arch import Arch
from stagewright.confined import Tree
from stagewright.errors import StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.root.download_sandbox import PLACE, bootstrapper
from stagewright.run import run
from stagewright.seeds import apt
from stagewright.seeds.apt_cache import AptCache, Waiting, archives_of, no_report, unverified
from stagewright.trees import remove_tree

if TYPE_CHECKING:
    from stagewright.root.network import Service

ASK_VERSIONS = r"""
cd "$(dirname "$1")"
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" LC_ALL=C apt-cache policy $(sed 's/=.*//' pins) |
    sed -n -e '/^[^ ]/ { s/:$//; h; }' -e '/^  Candidate: / { s///; H; g; s/\n/=/; p; }' > candidates
! grep --quiet --invert-match --line-regexp --fixed-strings --file=candidates pins
"""
"""Hook that ends a bootstrap before it unpacks, if the sources do not have the pinned versions any more."""

_LISTS = """
cd "$(dirname "$0")"
lists=$(apt-config shell FOLDER Dir::State::lists/d | cut -d "'" -f 2)
"""
"""The start of scripts that apt runs before and after it updates its indexes. mmdebstrap updates again at its end."""

_LEND = f"""{_LISTS}
[ -d lent ] || exit 0
find lent -type f -exec cp -p -t "$lists" {{}} +
mv lent lent.used
"""
"""Script that gives apt the indexes of the folder lent."""

_KEEP = f"""{_LISTS}
[ ! -d kept ] || exit 0
mkdir kept
find "$lists" -maxdepth 1 -type f -name '*_*' -exec cp -p -t kept {{}} +
"""
"""Script that copies the indexes of apt to the folder kept."""

_UPDATE = f"""\
Acquire::GzipIndexes "false"; // Release files have the digests of indexes that are not compressed
APT::Update::Pre-Invoke {{ "sh {PLACE}/lend"; }};
APT::Update::Post-Invoke-Success {{ "sh {PLACE}/keep"; }};
"""
"""Settings of apt, for both scripts."""

_LARGEST_LIST = 64 << 20

_FETCH = r"""
set -e
cd "$(dirname "$1")"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get -o Acquire::ForceHash=SHA256 download --print-uris $(cat pins) > uris
cut -d ' ' -f 2,4 uris | sed 's/^\(.*\) SHA256:\(.*\)$/\2\/\1/' | sort > wanted
missing=$(comm -23 wanted known | sed 's/.*\///; s/_[^_]*$//; s/_/=/; s/%3a/:/')
[ -z "$missing" ] || (cd fetched && apt-get download $missing)
"""
"""Hook that downloads the pinned packages that the cache does not have."""

_DOWNLOADED = 'touch "$1/var/cache/apt/archives/partial"'
"""Hook after which a root does not show if apt has downloaded packages into it."""

_TAKE_PACKAGES = r"""
mkdir -p "$1/var/cache/apt/archives"
find "$1/../packages" -name '*.deb' -exec mv -t "$1/var/cache/apt/archives" {} +
"""
"""Hook that gives packages to apt."""

_UPDATED = "downloading packages with apt..."
"""Message of mmdebstrap after it has updated the indexes."""


@dataclass(frozen=True)
class DebianRequest:
    """Settings of a bootstrapped root: release, Debian packages, version of Portage ("": no Portage), architecture."""

    suite: str
    packages: tuple[str, ...]
    portage: str
    arch: Arch
    services: tuple[Service, ...] = ()  # of this machine, for the downloads
    exclude: tuple[str, ...] = ()  # patterns of paths that dpkg does not unpack


@dataclass(frozen=True)
class Bootstrap:
    """The runs for one root. ``folder`` is that of the node, ``settings`` and ``lines`` are this machine's of apt."""

    request: DebianRequest
    folder: Path
    settings: str
    lines: Sequence[str]
    cache: AptCache | None
    waiting: Waiting = no_report

    @classmethod
    def of(cls, request: DebianRequest, folder: Path, cache: Path, waiting: Waiting = no_report) -> Bootstrap:
        """Return the runs for a request, with this machine's package sources and the cache in a folder.

        ``waiting`` is that of :meth:`AptCache.fetching`.
        """
        settings, lines = apt.options(), apt.sources(request.suite)
        shared = AptCache.of(cache, lines, settings, request.arch.port.name)
        return cls(request, folder, settings, lines, shared, waiting)

    def simulated(self, arguments: Sequence[str]) -> str:
        """Return the output of a simulation, which lists the packages that a root would have."""
        lines: list[str] = []
        with ExitStack() as lock:
            if self.cache:
                lock.enter_context(self.cache.fetching(self.waiting))

            def simulate(own: Path, *, lend: bool) -> None:
                lines.clear()
                self._prepare(own, lend=lend)
                if self.cache and self.cache.is_fresh:
                    lock.close()  # what this run downloads is small

                def on_line(line: str) -> None:
                    lines.append(f"{line}\n")
                    if line.endswith(_UPDATED):
                        self._keep_indexes(own)
                        lock.close()  # other seeds can go on

                self._run(own, ["--simulate", "--verbose", *arguments], "/dev/null", on_line=on_line)

            self._with_indexes("simulation", simulate)
        return "".join(lines)

    def fetch(self, pins: Sequence[str], log: IO[str]) -> Path | None:
        """Fetch the pinned packages (NAME=VERSION) that the cache does not have, and lend all of them to :meth:`make`.

        Return the folder with the indexes that apt had; None without a cache. Raises: COMMAND_FAILED if the sources do
        not have the versions, see :meth:`candidates`.
        """
        cache = self.cache
        if not cache:
            return None

        def fetch(own: Path, *, lend: bool) -> None:
            self._prepare(own, pins, lend=lend)
            (own / "known").write_text("".join(f"{path}\n" for path in cache.known()), encoding="utf-8")
            (own / "fetched").mkdir()
            words = ["--variant=custom", f"--customize-hook={ASK_VERSIONS}", f"--customize-hook={_FETCH}"]
            self._run(own, ["--format=directory", *words], "tree", log=log)

        with cache.fetching(self.waiting):
            for number in range(2):  # the second time, the cache lacks what was damaged in it
                own = self._with_indexes(f"fetch{number}", fetch)
                self._keep_indexes(own)
                wanted = archives_of(Tree(own).text("uris", limit=_LARGEST_LIST))
                cache.keep_packages(wanted, own / "fetched")
                remove_tree(self._lent)
                if not cache.lend_packages(wanted, self._lent):
                    break
        return own / "kept"

    def make(
        self, arguments: Sequence[str], pins: Sequence[str], indexes: Path | None, epoch: int, log: IO[str]
    ) -> Path:
        """Make the root in the folder "tree" of a folder, and return that. mmdebstrap fetches what was not lent.

        ``indexes`` are those of :meth:`fetch`. They are lent as they are: the cache may be another one meanwhile.
        """
        own = self.folder / "bootstrap"
        self._prepare(own, pins)
        if indexes and indexes.is_dir():
            indexes.rename(own / "lent")
        if self._lent.is_dir():
            self._lent.rename(own / "packages")
            arguments = [f"--setup-hook={_TAKE_PACKAGES}", *arguments]
        words = ["--format=directory", *arguments, f"--customize-hook={_DOWNLOADED}"]
        self._run(own, words, "tree", epoch=epoch, log=log)
        return own

    def candidates(self) -> list[str] | None:
        """Return the packages (NAME=VERSION) that the sources had last; None if no run has asked for them."""
        found = sorted(self.folder.glob("*/candidates"), key=lambda path: path.stat().st_mtime_ns)
        return Tree(found[-1].parent).read(found[-1].name).decode().splitlines() if found else None

    @property
    def _lent(self) -> Path:
        return self.folder / "packages"

    def _keep_indexes(self, own: Path) -> None:
        if self.cache and (own / "kept").is_dir():
            self.cache.keep_indexes(own / "kept")

    def _with_indexes(self, name: str, step: Callable[..., None]) -> Path:
        """Run a step in a new folder, and return that. If it fails with indexes of the cache, it is run without."""
        own = self.folder / name
        try:
            step(own, lend=True)
            if not self._has_unverified(own):
                return own
            if self.cache:
                self.cache.drop_indexes()
        except StagewrightError:
            lent = (own / "lent.used").is_dir()
            if not lent or ((own / "candidates").exists() and not self._has_unverified(own)):
                raise
        own = self.folder / f"{name}-again"
        step(own, lend=False)
        return own

    def _has_unverified(self, own: Path) -> bool:
        """Return True if apt used lent indexes that are not those of the Release files that it has verified."""
        lent, kept = own / "lent.used", own / "kept"
        return lent.is_dir() and (not kept.is_dir() or bool(unverified(lent, kept)))

    def _prepare(self, own: Path, pins: Sequence[str] = (), *, lend: bool = False) -> None:
        """Make the folder of a run."""
        own.mkdir()
        (own / "apt.conf").write_text(self.settings + (_UPDATE if self.cache else ""), encoding="utf-8")
        (own / "sources.list").write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        (own / "pins").write_text("".join(f"{name}\n" for name in pins), encoding="utf-8")
        (own / "lend").write_text(_LEND, encoding="utf-8")
        (own / "keep").write_text(_KEEP, encoding="utf-8")
        if self.cache and lend and not self.cache.lend_indexes(own / "lent"):
            (own / "lent").rmdir()

    def _run(
        self,
        own: Path,
        words: Sequence[str],
        target: str,
        *,
        epoch: int = 0,
        log: IO[str] | None = None,
        on_line: Callable[[str], object] | None = None,
    ) -> None:
        """Run mmdebstrap. ``target`` is the folder "tree" in ``own``, or an absolute path."""
        inside = Path(PLACE)
        command = [
            "mmdebstrap",
            "--mode=root",
            f"--architectures={self.request.arch.port.name}",
            "--skip=check/qemu",  # the worker has registered the emulator
            "--skip=check/empty,chroot/mount",  # the sandbox has mounted /dev and /proc of the root
            '--aptopt=Acquire::Languages "none"',
            f"--aptopt={inside / 'apt.conf'}",
            *words,
            self.request.suite,
            str(inside / target),
            str(inside / "sources.list"),
        ]
        texts = [self.settings, *self.lines]
        services = [*self.request.services, *apt.local_services(texts)]
        with bootstrapper(own, command, reads=apt.local_files(texts), services=services) as sandboxed:
            env = {"SOURCE_DATE_EPOCH": str(epoch)}
            run(sandboxed.words, env=env, log=log, on_line=on_line, pass_fds=sandboxed.descriptors)
