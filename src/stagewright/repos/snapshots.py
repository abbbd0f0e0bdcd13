"""Gentoo's snapshots of a repository: squashfs images and tarballs, found on a mirror, verified, and unpacked.

A folder of squashfs images has one clear-signed ``sha512sum.txt`` with the names and digests of all of them; each
tarball has a detached signature beside it. Both kinds are named by the day whose end they show, so neither can have
been signed before that day: what was is an older one under a newer name.
"""

from __future__ import annotations

import calendar
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.fetch.checksums import check_checksums, checksums_of
from stagewright.fetch.download import Progress, download
from stagewright.fetch.openpgp import Keyring, Signature
from stagewright.repos.repository_cache import RepositoryCache, check_repository, only_folder
from stagewright.root.sandbox import Bind, unpacker
from stagewright.run import run
from stagewright.seeds.unpack import unpack
from stagewright.store.store import remove_tree

TREE = "sha512"
"""The kind of tree id that a snapshot has: the digest of its file."""

SUMS = "sha512sum.txt"

SMALL = 1 << 20
"""Bytes that a list of digests or a signature may have."""

DAYS_BACK = 7
"""How many days a mirror may lie behind before its tarballs are taken for gone."""

_LINE = re.compile(
    r"^(?P<digest>[0-9a-f]{128}) [ *](?P<file>(?P<stem>[a-z0-9_-]+)-(?P<date>\d{8})\.(?P<kind>\w+)\.sqfs)$"
)
_KINDS = ("xz", "zstd", "zst", "gz", "lz4", "lzo")
_SIGNATURES = ("gpgsig", "asc")
_ASK = "try another mirror, or later; `date` names an older one"

Trust = Callable[[], AbstractContextManager[Keyring]] | None
"""Opens the keyring whose signatures are good; None: nothing is verified."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: its file at the mirror, its day (YYYYMMDD), its digest; who signed it, and when (seconds)."""

    file: str
    date: str
    sha512: str
    signer: str = ""
    signed: int = 0

    @property
    def tree(self) -> str:
        """What stands for it in keys."""
        return f"{TREE}:{self.sha512}"


@dataclass(frozen=True)
class SnapshotMirror:
    """A folder of snapshots on a mirror, whose names begin with one of ``names``: the repository's, or Gentoo's."""

    url: str
    names: Sequence[str]
    cache: RepositoryCache
    log: IO[str]
    progress: Progress

    @property
    def folder(self) -> Path:
        """Where its files are kept while they are needed."""
        return self.cache.folder_for("files", self.url)

    def find_squashfs(self, date: str | None, trust: Trust) -> Snapshot:
        """The image of a day, or the newest. Raises ``NOT_FOUND`` for a day that the mirror has not got."""
        self.folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as aside:
            sums = self._small(SUMS, Path(aside))
            signature = None
            if trust:
                with trust() as keyring:
                    signed = keyring.clearsigned(sums)
                text, signature = signed.text.decode(errors="replace"), signed.signature
            else:
                text = sums.read_text(errors="replace", encoding="utf-8")
        lines = [match for line in text.splitlines() if (match := _LINE.match(line.rstrip())) and self._ours(match)]
        if not lines:
            what = f"{self.url}/{SUMS} lists no snapshot of {' or '.join(self.names)}"
            raise StagewrightError(Reason.BAD_LISTING, what, hint="correct the address: a folder with *.sqfs files")
        day = date or max(match["date"] for match in lines)
        images = [match for match in lines if match["date"] == day]
        if not images:
            hint = nearest(day, [match["date"] for match in lines])
            raise StagewrightError(Reason.NOT_FOUND, f"{self.url} has no snapshot of {day}", hint=hint)
        best = min(images, key=lambda match: _KINDS.index(match["kind"]))
        _check_signed(best["file"], day, signature)
        return _found(best["file"], day, best["digest"], signature)

    def find_tarball(self, date: str | None, trust: Trust) -> Snapshot:
        """The tarball of a day, or the newest one of the last days, fetched and verified.

        Raises ``NOT_FOUND`` if there is none.
        """
        day, name = self._tarball(date)
        file = download([f"{self.url}/{name}"], self.folder / f"{name}.new", progress=self.progress)
        try:
            signature = self._verify_tarball(name, file, trust)
            _check_signed(name, day, signature)
            digest = checksums_of(file, ["sha512"])["sha512"]
        except BaseException:
            file.unlink()
            raise
        file.rename(self.folder / name)
        return _found(name, day, digest, signature)

    def tree(self, file: str, sha512: str) -> str:
        """The id of a snapshot in keys; fetched and unpacked unless its files are there already."""
        tree = f"{TREE}:{sha512}"

        def verify(path: Path) -> None:
            check_checksums(path, file, {"sha512": sha512})

        with self.cache.new_entry(tree) as folder:
            if folder is not None:
                archive = download([f"{self.url}/{file}"], self.folder / file, verify=verify, progress=self.progress)
                try:
                    _unpack(archive, folder, self.log)
                finally:
                    archive.unlink()
        return tree

    def _ours(self, match: re.Match[str]) -> bool:
        return match["stem"] in self.names and match["kind"] in _KINDS

    def _small(self, name: str, folder: Path) -> Path:
        return download([f"{self.url}/{name}"], folder / name, limit=SMALL)

    def _tarball(self, date: str | None) -> tuple[str, str]:
        """The day and the name of a tarball that the mirror has: whichever has its list of digests there."""
        now = time.time()
        days = (
            [date] if date else [time.strftime("%Y%m%d", time.gmtime(now - back * 86400)) for back in range(DAYS_BACK)]
        )
        self.folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as aside:
            for day in days:
                for stem in self.names:
                    name = f"{stem}-{day}.tar.xz"
                    if any(self._try(f"{name}.{end}", Path(aside)) for end in (*_SIGNATURES, "md5sum")):
                        return day, name
        what = f"of {date}" if date else f"of the last {DAYS_BACK} days"
        raise StagewrightError(Reason.NOT_FOUND, f"{self.url} has no snapshot {what}", hint=_ASK)

    def _try(self, name: str, folder: Path) -> Path | None:
        try:
            return self._small(name, folder)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return None

    def _verify_tarball(self, name: str, file: Path, trust: Trust) -> Signature | None:
        with tempfile.TemporaryDirectory(dir=self.folder) as aside:
            if trust:
                for end in _SIGNATURES:
                    if beside := self._try(f"{name}.{end}", Path(aside)):
                        with trust() as keyring:
                            return keyring.verify(beside, file)
                what = f"{self.url}/{name} has no signature beside it"
                raise StagewrightError(Reason.NO_SIGNATURE, what, hint="try another mirror, or `verify = false`")
            sums = self._try(f"{name}.md5sum", Path(aside))
            expected = sums.read_text(errors="replace", encoding="utf-8").split()[:1] if sums else []
        if expected:
            check_checksums(file, name, {"md5": expected[0]})
        return None


def unpacked_snapshot(snapshot: Path, cache: RepositoryCache, log: IO[str]) -> Path:
    """The folder with the repository that a snapshot at hand holds; unpacked unless it is there already.

    Raises ``BAD_ARCHIVE`` for a file that cannot be read, or that holds no repository.
    """
    tree = f"{TREE}:{checksums_of(snapshot, [TREE])[TREE]}"
    with cache.new_entry(tree) as folder:
        if folder is not None:
            _unpack(snapshot, folder, log)
    return cache.path(tree)


def _unpack(archive: Path, folder: Path, log: IO[str]) -> None:
    aside = folder / ".unpacked"
    aside.mkdir()
    if archive.suffix == ".sqfs":
        _unsquash(archive, aside, log)
    else:
        unpack(archive, aside, log)
    top = only_folder(aside)
    check_repository(top, archive.name)
    for path in top.iterdir():
        path.rename(folder / path.name)
    remove_tree(aside)


def _found(file: str, date: str, digest: str, signature: Signature | None) -> Snapshot:
    return (
        Snapshot(file, date, digest, signature.primary, signature.made) if signature else Snapshot(file, date, digest)
    )


def _check_signed(file: str, date: str, signature: Signature | None) -> None:
    """Raise ``REPLAYED`` for what was signed before the day that its name says."""
    if signature and signature.made < calendar.timegm(time.strptime(date, "%Y%m%d")):
        made = time.strftime("%Y-%m-%d", time.gmtime(signature.made))
        raise StagewrightError(
            Reason.REPLAYED, f"{file} was signed on {made}: it is an older one under a newer name", hint=_ASK
        )


def _unsquash(image: Path, target: Path, log: IO[str]) -> None:
    """Unpack a squashfs image where everything but the target is read-only."""
    words = ["unsquashfs", "-no-progress", "-no-xattrs", "-force", "-dest", "/mnt", "/tmp/image"]
    result = run(unpacker(target, "/mnt", words, binds=[Bind(image.resolve(), "/tmp/image")]), check=False)
    log.write(result.stdout + result.stderr)
    if result.code:
        shown = "\n".join(result.stderr.strip().splitlines()[:8])
        raise StagewrightError(
            Reason.BAD_ARCHIVE, f"{image.name} cannot be unpacked", detail=shown, hint="nothing of it was kept"
        )
