"""Gentoo's snapshots of a repository: squashfs images and tarballs, found on a mirror, verified, and unpacked.

A folder of squashfs images has a clear-signed list with the names and digests of the images: ``sha512sum.txt``, or
``<repository>-current.sha512sum.txt``. Each tarball has a detached signature. The name of a snapshot contains the day
at whose end it was made. So a signature from before that day belongs to an older snapshot that was renamed.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.fetch.checksums import check_checksums, checksums_of
from stagewright.fetch.download import DownloadProgress, download
from stagewright.fetch.openpgp import Keyring, Signature
from stagewright.repos.repository_cache import RepositoryCache, check_repository, only_folder
from stagewright.root.sandbox import Bind, unpacker
from stagewright.run import run
from stagewright.seeds.unpack import unpack
from stagewright.temporary import temporary_folder
from stagewright.trees import remove_tree

TREE_KIND = "sha512"
"""The kind of tree id of a snapshot: the digest of its file."""

SUMS = "sha512sum.txt"

SMALL = 1 << 20
"""The largest list of digests or signature (bytes)."""

DAYS_BACK = 7
"""The number of past days for which a tarball is searched."""

_LINE = re.compile(
    r"^(?P<digest>[0-9a-f]{128}) [ *](?P<file>(?P<stem>[a-z0-9_-]+)-(?P<date>\d{8})\.(?P<kind>\w+)\.sqfs)$"
)
_KINDS = ("xz", "zstd", "zst", "gz", "lz4", "lzo")
_SIGNATURES = ("gpgsig", "asc")
_HINT = "try another mirror, or set `date` to an older day"

Trust = Callable[[], AbstractContextManager[Keyring]] | None
"""A function that opens the keyring of trusted keys; None: signatures are not verified."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: file at the mirror, day (YYYYMMDD), digest, signer, time of the signature (seconds since 1970)."""

    file: str
    date: str
    sha512: str
    signer: str = ""
    signed: int = 0

    @property
    def tree(self) -> str:
        """The tree id of the snapshot."""
        return f"{TREE_KIND}:{self.sha512}"


@dataclass(frozen=True)
class SnapshotMirror:
    """A folder of snapshots on a mirror. Their names begin with one of ``names``."""

    url: str
    names: Sequence[str]
    cache: RepositoryCache
    log: IO[str]
    progress: DownloadProgress

    @property
    def folder(self) -> Path:
        """The folder for its downloaded files."""
        return self.cache.folder_for("files", self.url)

    def find_squashfs(self, date: str | None, trust: Trust) -> Snapshot:
        """Return the image of a day, or the newest. Raises ``NOT_FOUND`` if the mirror has none of that day."""
        self.folder.mkdir(exist_ok=True)
        with temporary_folder("download", self.folder) as aside:
            sums = self._download_sums(aside)
            signature = None
            if trust:
                with trust() as keyring:
                    signed = keyring.clearsigned(sums)
                text, signature = signed.text.decode(errors="replace"), signed.signature
            else:
                text = sums.read_text(errors="replace", encoding="utf-8")
        lines = [match for line in text.splitlines() if (match := _LINE.match(line.rstrip())) and self._ours(match)]
        if not lines:
            what = f"{self.url}/{sums.name}: no snapshot of {' or '.join(self.names)}"
            raise StagewrightError(Reason.BAD_LISTING, what, hint="set the address of a folder with *.sqfs files")
        day = date or max(match["date"] for match in lines)
        images = [match for match in lines if match["date"] == day]
        if not images:
            hint = nearest(day, [match["date"] for match in lines])
            raise StagewrightError(Reason.NOT_FOUND, f"{self.url}: no snapshot of {day}", hint=hint)
        best = min(images, key=lambda match: _KINDS.index(match["kind"]))
        _check_signed(best["file"], day, signature)
        return _found(best["file"], day, best["digest"], signature)

    def find_tarball(self, date: str | None, trust: Trust) -> Snapshot:
        """Fetch and verify the tarball of a day, or the newest one of the last days.

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

    def write_tree(self, file: str, sha512: str) -> str:
        """Return the tree id of a snapshot; fetch and unpack it if its files are missing."""
        tree = f"{TREE_KIND}:{sha512}"

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

    def _download_sums(self, folder: Path) -> Path:
        """Download the list of digests by the first of its names that the mirror has."""
        others = [f"{stem}-current.{SUMS}" for stem in self.names]
        found = next(filter(None, (self._try(name, folder) for name in (SUMS, *others))), None)
        return found or self._download_small(SUMS, folder)

    def _download_small(self, name: str, folder: Path) -> Path:
        return download([f"{self.url}/{name}"], folder / name, limit=SMALL)

    def _tarball(self, date: str | None) -> tuple[str, str]:
        """Return the day and the name of the newest tarball whose signature or digest the mirror has."""
        now = time.time()
        days = (
            [date] if date else [time.strftime("%Y%m%d", time.gmtime(now - back * 86400)) for back in range(DAYS_BACK)]
        )
        self.folder.mkdir(exist_ok=True)
        with temporary_folder("download", self.folder) as aside:
            for day in days:
                for stem in self.names:
                    name = f"{stem}-{day}.tar.xz"
                    if any(self._try(f"{name}.{end}", aside) for end in (*_SIGNATURES, "md5sum")):
                        return day, name
        what = f"of {date}" if date else f"of the last {DAYS_BACK} days"
        raise StagewrightError(Reason.NOT_FOUND, f"{self.url}: no snapshot {what}", hint=_HINT)

    def _try(self, name: str, folder: Path) -> Path | None:
        try:
            return self._download_small(name, folder)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return None

    def _verify_tarball(self, name: str, file: Path, trust: Trust) -> Signature | None:
        with temporary_folder("download", self.folder) as aside:
            if trust:
                for end in _SIGNATURES:
                    if signature := self._try(f"{name}.{end}", aside):
                        with trust() as keyring:
                            return keyring.verify(signature, file)
                what = f"{self.url}/{name}: no signature found"
                raise StagewrightError(Reason.NO_SIGNATURE, what, hint="try another mirror, or set `verify = false`")
            sums = self._try(f"{name}.md5sum", aside)
            expected = sums.read_text(errors="replace", encoding="utf-8").split()[:1] if sums else []
        if expected:
            check_checksums(file, name, {"md5": expected[0]})
        return None


def tree_of(snapshot: Path) -> str:
    """Return the tree id of a local snapshot."""
    return f"{TREE_KIND}:{checksums_of(snapshot, [TREE_KIND])[TREE_KIND]}"


def unpacked_snapshot(snapshot: Path, cache: RepositoryCache, log: IO[str]) -> Path:
    """Return the folder with the content of a local snapshot; unpack it if it is missing.

    Raises ``BAD_ARCHIVE`` for a file that cannot be read, or that holds no repository.
    """
    tree = tree_of(snapshot)
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
        for node in unpack(archive, aside, log).devices:
            raise _device(archive.name, node.path)
    top = only_folder(aside)
    check_repository(top, archive.name)
    for path in top.iterdir():
        path.rename(folder / path.name)
    remove_tree(aside)


def _found(file: str, date: str, digest: str, signature: Signature | None) -> Snapshot:
    return (
        Snapshot(file, date, digest, signature.primary, signature.time) if signature else Snapshot(file, date, digest)
    )


def _check_signed(file: str, date: str, signature: Signature | None) -> None:
    """Raise ``REPLAYED`` if a snapshot was signed before the day in its name."""
    if signature and signature.time < calendar.timegm(time.strptime(date, "%Y%m%d")):
        made = time.strftime("%Y-%m-%d", time.gmtime(signature.time))
        raise StagewrightError(
            Reason.REPLAYED, f"{file}: an older snapshot under a newer name (signed on {made})", hint=_HINT
        )


def _unsquash(image: Path, target: Path, log: IO[str]) -> None:
    """Unpack a squashfs image in a sandbox where only the target is writable."""
    words = ["unsquashfs", "-no-progress", "-no-xattrs", "-force", "-dest", "/mnt", "/tmp/image"]
    with unpacker(target, "/mnt", words, binds=[Bind(image.resolve(), "/tmp/image")]) as sandboxed:
        result = run(sandboxed.words, check=False, pass_fds=sandboxed.descriptors)
    log.write(result.stdout + result.stderr)
    if device := re.search(r"failed to create (?:character|block) device ([^\n]*),", result.stderr):
        raise _device(image.name, device[1])
    if result.code:
        shown = "\n".join(result.stderr.strip().splitlines()[:8])
        raise StagewrightError(
            Reason.BAD_ARCHIVE, f"{image.name}: cannot be unpacked", detail=shown, hint="fetch the file again"
        )


def _device(name: str, path: str) -> StagewrightError:
    what = f"{name}: not a file, folder or link ({path})"
    return StagewrightError(Reason.UNSAFE_ARCHIVE, what, hint="the files were discarded: report it to the mirror")
