"""Package indexes and packages that the Debian seeds of a store share, so each is downloaded once::

    <cache>/<sources>.lock                          flock(2): held by the seed that fetches from these sources
    <cache>/indexes/<sources>/<file>                files of /var/lib/apt/lists, as apt names them
    <cache>/packages/<sha256>/<file>.deb            files of /var/cache/apt/archives, as apt names them

``<sources>`` is a digest of the package sources, of apt's settings and of the architecture.

Nothing here is trusted. apt does not digest an index that it already has, and of a package that it already has it
compares the size alone. So Stagewright does both. An index is lent if its SHA256 is the one in the Release file next to
it. apt then verifies the signature of the Release file that it has after its update, and the index must be the one in
that file (:func:`unverified`): it can be a newer one, or apt can have read the lent one in another way. A Release file
with a time in the future is neither kept nor lent. A package is lent if its SHA256 is the one in these indexes: it is
digested while it is copied into the folder of the build. Files get into the cache before any code of a package runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from stagewright.lazy_dataclass import dataclass
from stagewright.locks import locked
from stagewright.trees import remove_tree
from stagewright.untrusted import open_regular

RELEASE = "InRelease"

_SIGNED = re.compile(
    r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash: [^\n]*\n)*\n(?P<text>.*?)\n-----BEGIN PGP SIGNATURE-----\n[^-]*"
    r"-----END PGP SIGNATURE-----\n*",
    re.DOTALL,
)
_DIGEST_LINE = re.compile(r"^ (?P<digest>[0-9a-f]{64}) +(?P<size>\d+) +(?P<path>\S+)$", re.MULTILINE)
_URI = re.compile(r"'[^']*' (?P<name>[^\s/]+\.deb) (?P<size>\d+) SHA256:(?P<digest>[0-9a-f]{64})")
_UNSIGNED = re.compile(r"\bAllow(?:Insecure|Weak|Downgrade)\w* \"(?!0\"|no\"|false\"|off\"|\")", re.IGNORECASE)

_LARGEST_RELEASE = 16 << 20
_CHUNK = 1 << 20
_WAIT = 0.1  # seconds between two tries to get a lock
_UPDATED = "updated"
"""Empty file whose time is that of the last update."""

_FRESH = 60
"""Seconds in which a second update of the indexes has nothing to download, most likely."""


Waiting = Callable[[bool], object]
"""Is called with True when a wait for another seed begins, and with False when it ends."""


def no_report(_: bool) -> None:
    """Do not report that a seed waits."""


@dataclass(frozen=True)
class Archive:
    """A package to install: the name that apt gives its file, its size in bytes, and its SHA256."""

    name: str
    size: int
    digest: str

    @property
    def path(self) -> str:
        """Its path in the folder of packages."""
        return f"{self.digest}/{self.name}"


def archives_of(listing: str) -> list[Archive]:
    """Return the packages in the output of ``apt-get download --print-uris``. Those without a SHA256 are left out."""
    return [Archive(one["name"], int(one["size"]), one["digest"]) for one in _URI.finditer(listing)]


@dataclass(frozen=True)
class AptCache:
    """The cache ``folder`` of the store, for the package sources that ``sources`` is the digest of."""

    folder: Path
    sources: str

    @classmethod
    def of(cls, folder: Path, lines: Sequence[str], options: str, architecture: str) -> AptCache | None:
        """Return the cache for package sources; None if apt's settings accept indexes without a signature."""
        if _UNSIGNED.search(options):
            return None
        text = "\n".join([architecture, *lines, options])
        return cls(folder, hashlib.sha256(text.encode()).hexdigest()[:32])

    @property
    def indexes(self) -> Path:
        """The folder with the indexes of these sources."""
        return self.folder / "indexes" / self.sources

    @property
    def packages(self) -> Path:
        """The folder with packages of all sources."""
        return self.folder / "packages"

    @contextlib.contextmanager
    def fetching(self, waiting: Waiting = no_report) -> Iterator[None]:
        """Hold the lock of the sources for the block. Other seeds that fetch from them wait.

        If another seed has the lock, ``waiting`` is called with True, and with False when the wait ends.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        waits = False
        while True:
            with locked(self.folder / f"{self.sources}.lock") as mine:
                if mine:
                    if waits:
                        waiting(False)
                    yield
                    return
            if not waits:
                waits = True
                waiting(True)
            time.sleep(_WAIT)

    def lend_indexes(self, target: Path) -> bool:
        """Copy the indexes whose digests are right into a new folder. Return True if there are any."""
        target.mkdir()
        try:
            _copy_verified(self.indexes, target, time.time())
            os.utime(self.indexes)  # garbage collection reads this time as the last use
        except FileNotFoundError:  # there are none, or they are being collected
            return False
        return any(target.iterdir())

    @property
    def is_fresh(self) -> bool:
        """True if another seed has just updated the indexes."""
        with contextlib.suppress(FileNotFoundError):
            return 0 <= time.time() - (self.indexes / _UPDATED).stat().st_mtime < _FRESH
        return False

    def keep_indexes(self, source: Path) -> None:
        """Replace the indexes of the cache by those in a folder whose digests are right."""
        new = self.folder / f".new.{secrets.token_hex(4)}"
        new.mkdir(parents=True)
        try:
            _copy_verified(source, new, time.time())
            self.indexes.mkdir(parents=True, exist_ok=True)
            fresh = {path.name for path in new.iterdir()}
            for path in list(self.indexes.iterdir()):
                if path.name not in (*fresh, _UPDATED):
                    path.unlink(missing_ok=True)
            for path in new.iterdir():  # a killed run leaves a mixture: what does not match is not lent
                path.rename(self.indexes / path.name)
            (self.indexes / _UPDATED).touch()
        finally:
            remove_tree(new)

    def drop_indexes(self) -> None:
        """Remove the indexes of these sources."""
        remove_tree(self.indexes)

    def known(self) -> list[str]:
        """Return the paths of the packages that the cache has, below its folder of packages."""
        return sorted(f"{path.parent.name}/{path.name}" for path in self.packages.glob("*/*.deb"))

    def keep_packages(self, wanted: Sequence[Archive], source: Path) -> None:
        """Move those files of a folder into the cache that are the wanted packages."""
        for one in wanted:
            target = self.packages / one.path
            if target.exists():
                continue
            own = self.folder / f".new.{secrets.token_hex(4)}"
            own.mkdir(parents=True)
            try:
                if _copied(source / one.name, own / one.name) == one.digest:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (own / one.name).rename(target)
            finally:
                remove_tree(own)

    def lend_packages(self, wanted: Sequence[Archive], target: Path) -> list[Archive]:
        """Copy packages into a new folder. Return those that the cache does not have.

        A file with wrong content is removed from the cache.
        """
        target.mkdir()
        missing = []
        for one in wanted:
            source = self.packages / one.path
            if _copied(source, target / one.name) == one.digest:
                with contextlib.suppress(FileNotFoundError):  # it is being collected
                    os.utime(source.parent)  # garbage collection reads this time as the last use
                continue
            (target / one.name).unlink(missing_ok=True)
            remove_tree(source.parent)
            missing.append(one)
        return missing


def _copied(source: Path, target: Path) -> str:
    """Copy a regular file to a new one, with its time. Return the SHA256 of the copy; empty if it is missing."""
    try:
        stream = open_regular(source, follow=False)
    except OSError:
        return ""
    total = hashlib.sha256()
    with stream, target.open("xb") as copy:
        while chunk := stream.read(_CHUNK):
            total.update(chunk)
            copy.write(chunk)
        copy.flush()
        state = os.fstat(stream.fileno())
        os.utime(copy.fileno(), ns=(state.st_atime_ns, state.st_mtime_ns))
    return total.hexdigest()


def _copy_verified(source: Path, target: Path, latest: float) -> None:
    """Copy the Release files of a folder, and the indexes whose digests they have. Leave out everything else.

    apt asks the server for files that are newer than the copies, so these have the same times. A Release file with a
    time after ``latest`` is left out: the server would answer that it has no newer one, and apt would keep an old one.
    """
    names = [path.name for path in sorted(source.iterdir())]
    for release in (name for name in names if name.endswith(f"_{RELEASE}")):
        copy = target / release
        if not _copied(source / release, copy):
            continue
        state = copy.stat()
        digests = digests_in(copy.read_bytes()) if state.st_size <= _LARGEST_RELEASE else {}
        if not digests or state.st_mtime > latest:
            copy.unlink()
            continue
        prefix = release.removesuffix(RELEASE)
        for name in (name for name in names if name.startswith(prefix) and not name.endswith(f"_{RELEASE}")):
            if (target / name).exists():
                continue
            expected = digests.get(unquote(name.removeprefix(prefix).replace("_", "/")))
            if expected and _copied(source / name, target / name) != expected:
                (target / name).unlink(missing_ok=True)


def unverified(lent: Path, kept: Path) -> list[str]:
    """Return the names of lent indexes that apt still has, and that are not those of the Release file that it has.

    ``kept`` has the indexes of apt after its update: it has verified the signatures of the Release files there.
    """
    names = {path.name for path in lent.iterdir() if not path.name.endswith(f"_{RELEASE}")}
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        _copy_verified(kept, Path(folder), math.inf)
        right = {path.name for path in Path(folder).iterdir()}
    return sorted(names & {path.name for path in kept.iterdir()} - right)


def digests_in(release: bytes) -> Mapping[str, str]:
    """Return the SHA256 of files by path, as the signed part of an InRelease file says; empty if it has none.

    The signature is not verified. A text that another parser could read in another way has none: with lines that the
    signature does not cover, a second paragraph or list, or two digests of a path.
    """
    found = _SIGNED.fullmatch(release.decode(errors="replace"))
    if not found or re.search(r"^(-----|\s*$)", found["text"], re.MULTILINE):
        return {}
    if len(re.findall(r"^sha256:", found["text"], re.MULTILINE | re.IGNORECASE)) != 1:
        return {}
    _, _, section = found["text"].partition("\nSHA256:\n")
    lines = _DIGEST_LINE.findall(re.split(r"^(?! )", section, maxsplit=1, flags=re.MULTILINE)[0])
    digests = {path: digest for digest, _, path in lines}
    return digests if len(digests) == len(lines) else {}
