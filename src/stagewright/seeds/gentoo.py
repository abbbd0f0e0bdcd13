"""Stage tarballs on a mirror of Gentoo's release media, verified by Gentoo's release keys.

::

    releases/<arch>/autobuilds/latest-<variant>.txt      clear-signed: # ts=..., <stamp>/<file> <bytes>
    releases/<arch>/autobuilds/latest-stage3.txt         the same for all stage3s of the architecture
    releases/<arch>/autobuilds/<stamp>/<file>            <variant>-<stamp>.tar.xz
    ...<file>.DIGESTS                                    clear-signed: BLAKE2B and SHA512 of it
    ...<file>.sha256                                     clear-signed: SHA256 of it
    ...<file>.asc                                        detached signature

A mirror is rejected if any of these files is missing, unsigned, for another file, or older than the pinned one.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stagewright.arch import Arch
from stagewright.catalyst.subarches import subarches
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.fetch.checksums import check_checksums
from stagewright.fetch.download import DownloadProgress, download
from stagewright.fetch.openpgp import Keyring, SignedText
from stagewright.untrusted import number

RELEASE_KEYS = (
    "13EBBDBEDE7A12775DFDB1BABB572E0E2D182910",  # Automated Weekly Release Key
    "D99EAC7379A850BCE47DA5F29E6438C817072058",  # Gentoo Linux Release Signing Key
)
"""Primary keys of the signatures of Gentoo's release media (https://www.gentoo.org/downloads/signatures/)."""

_FOLDERS = {
    "mips64": "mips",
    "power10le": "ppc",
    "ppc64": "ppc",
    "rv32": "riscv",
    "rv64": "riscv",
    "s390x": "s390",
    "sparc64": "sparc",
}
"""Folders of architectures whose name differs."""

DEFAULT_MIRROR = "https://distfiles.gentoo.org"

VARIANT = r"stage[1-4]-[a-z0-9_.]+(-[A-Za-z0-9_+.]+)*"

_SMALL = 1 << 20
"""The largest listing or signature (bytes)."""

_FILE = rf"(?P<variant>{VARIANT})-(?P=stamp)\.tar\.(xz|zst|bz2|gz)"
_LINE = re.compile(rf"(?P<stamp>\d{{8}}T\d{{6}}Z)/{_FILE} +(?P<size>\d+)")
_STAMP = "%Y%m%dT%H%M%SZ"
_WHEN = re.compile(r"^# ts=(\d{1,12})$", re.MULTILINE)
_DIGEST = re.compile(r"^([0-9a-f]{32,128})  (\S+)$")

_HINT = "try another mirror"

T = TypeVar("T")


@dataclass(frozen=True)
class StageTarball:
    """A tarball in a listing: its path below ``autobuilds``, size (bytes), and time stamp of its build."""

    variant: str
    stamp: str
    path: str
    size: int

    @property
    def file(self) -> str:
        """The file name."""
        return self.path.rpartition("/")[2]

    @property
    def date(self) -> str:
        """The day of the build, YYYY-MM-DD."""
        return day_of(self.stamp)


@dataclass(frozen=True)
class SignedTarball:
    """A tarball with its signed digests and the fingerprint of the signer."""

    stage: StageTarball
    sha512: str
    blake2b: str
    signer: str


@dataclass(frozen=True)
class ReleaseMirror:
    """Mirrors with the same content, tried in this order."""

    urls: Sequence[str]
    arch: str
    keys: Keyring
    folder: Path  # for temporary files

    def latest(self, variant: str, known: str = "") -> StageTarball:
        """Return the newest tarball of a variant.

        ``known`` is the time stamp of the pinned tarball; raises ``REPLAYED`` for an older one. Raises
        ``UNKNOWN_NAME`` with the nearest name if the mirror does not have the variant.
        """

        def check(signed: SignedText) -> StageTarball:
            (stage,) = _only(_stages(signed), f"latest-{variant}.txt")
            if stage.variant != variant:
                what = f"latest-{variant}.txt: names another variant ({stage.file})"
                raise StagewrightError(Reason.WRONG_NAME, what, hint=_HINT)
            if known and stage.stamp < known:
                what = f"latest-{variant}.txt: older than the pinned tarball ({stage.stamp}, pinned {known})"
                raise StagewrightError(
                    Reason.REPLAYED, what, hint=f"{_HINT}; to go back, remove the pin from stagewright.lock"
                )
            return stage

        try:
            return self._signed(f"latest-{variant}.txt", check)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            have = {stage.variant for stage in self.listing()}
            what = f"{self.urls[0]}: no {variant} for {self.arch}"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=nearest(variant, have)) from error

    def listing(self) -> list[StageTarball]:
        """Return all stage3s of the architecture by name. Raises ``UNKNOWN_NAME`` if the mirror has none for it."""
        try:
            return sorted(self._signed("latest-stage3.txt", _stages), key=lambda stage: stage.variant)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            what = f"{self.urls[0]}: no listing of stage3s for {self.arch}"
            hint = "set `arch` to Gentoo's name of the architecture, for example amd64 or arm64"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=hint) from error

    def digests(self, stage: StageTarball) -> SignedTarball:
        """Return a tarball with the digests of its signed DIGESTS file."""
        both, signer = self._signed(f"{stage.path}.DIGESTS", lambda signed: (_digests(signed, stage.file), signed))
        if missing := {"SHA512", "BLAKE2B"} - set(both):
            what = f"{stage.file}.DIGESTS: no {' and no '.join(sorted(missing))}"
            raise StagewrightError(Reason.BAD_LISTING, what, hint=_HINT)
        return SignedTarball(stage, both["SHA512"], both["BLAKE2B"], signer.signature.primary)

    def fetch(self, found: SignedTarball, target: Path, progress: DownloadProgress) -> Path:
        """Download a tarball and verify it by DIGESTS, the .sha256 and its detached signature."""
        stage = found.stage
        weaker = self._signed(f"{stage.path}.sha256", lambda signed: _digests(signed, stage.file))
        if "SHA256" not in weaker:
            raise StagewrightError(Reason.BAD_LISTING, f"{stage.file}.sha256: no SHA256", hint=_HINT)
        signature = self._download_small(f"{stage.path}.asc", lambda path: None)

        def verify(path: Path) -> None:
            check_checksums(
                path, stage.file, {"sha512": found.sha512, "blake2b": found.blake2b, "sha256": weaker["SHA256"]}
            )
            self.keys.verify(signature, path, stage.file)

        where = urls(self.urls, self.arch, stage.path)
        return download(where, target, size=stage.size, verify=verify, progress=progress)

    def _signed(self, path: str, read: Callable[[SignedText], T]) -> T:
        """Return the parsed content of a clear-signed file, from the first mirror where it is valid."""
        said: list[T] = []
        self._download_small(path, lambda file: said.append(read(self.keys.clearsigned(file, path.rpartition("/")[2]))))
        return said[-1]

    def _download_small(self, path: str, verify: Callable[[Path], None]) -> Path:
        target = self.folder / path.rpartition("/")[2]
        target.unlink(missing_ok=True)
        where = urls(self.urls, self.arch, path)
        return download(where, target, limit=_SMALL, verify=verify)


def urls(mirrors: Sequence[str], arch: str, path: str) -> list[str]:
    """Return the addresses of a file on the mirrors."""
    return [f"{mirror.rstrip('/')}/releases/{arch}/autobuilds/{path}" for mirror in mirrors]


def directory(variant: str, arch: Arch | None) -> str:
    """Return the folder of the releases for an architecture; without one, for the architecture of the variant."""
    return folder_of(arch.value if arch else arch_of(variant))


def arch_of(variant: str) -> str:
    """Return the architecture of a variant; the word in its name if this is not the name of an architecture."""
    word = variant.split("-")[1]
    known = {name: subarch.arch for name, subarch in subarches().items()}
    return known.get(word, known.get(word.partition("_")[0], word.partition("_")[0]))


def folder_of(arch: str) -> str:
    """Return the folder of the releases for an architecture."""
    return _FOLDERS.get(arch, arch)


def day_of(stamp: str) -> str:
    """Return the day (YYYY-MM-DD) of a time stamp such as 20261115T170000Z."""
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"


def stamp_of(file: str, variant: str) -> str:
    """Return the time stamp in the name of a tarball of this variant; "" for any other file."""
    found = re.fullmatch(rf"{re.escape(variant)}-(\d{{8}}T\d{{6}}Z)\.tar\.\w+", file)
    return found[1] if found else ""


def path_of(file: str, variant: str) -> str:
    """Return the path of a tarball below ``autobuilds``."""
    return f"{stamp_of(file, variant)}/{file}"


def age(stage: StageTarball) -> int:
    """Return the age of a tarball in days."""
    built = calendar.timegm(time.strptime(stage.stamp, _STAMP))
    return int((time.time() - built) // 86400)


def _is_time(stamp: str) -> bool:
    try:
        return stamp.isascii() and bool(time.strptime(stamp, _STAMP))
    except ValueError:
        return False


def _stages(signed: SignedText) -> list[StageTarball]:
    """Return the tarballs in a listing. Raises ``BAD_LISTING`` if it is invalid."""
    text = signed.text.decode(errors="replace")
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            match = _LINE.fullmatch(line.rstrip())
            size = number(match["size"]) if match else None
            if not match or size is None or not _is_time(match["stamp"]):
                raise StagewrightError(Reason.BAD_LISTING, f"listing: invalid line ({line[:200]!r})", hint=_HINT)
            path = line.partition(" ")[0]
            found.append(StageTarball(match["variant"], match["stamp"], path, size))
    if not found or not _WHEN.search(text):
        raise StagewrightError(Reason.BAD_LISTING, "listing: no tarballs, or no date", hint=_HINT)
    return found


def _only(stages: list[StageTarball], name: str) -> list[StageTarball]:
    if len(stages) != 1:
        raise StagewrightError(Reason.BAD_LISTING, f"{name}: expected one file, found {len(stages)}", hint=_HINT)
    return stages


def _digests(signed: SignedText, name: str) -> dict[str, str]:
    """Return the digests of a file by algorithm. Raises ``WRONG_NAME`` if all digests are of other files."""
    kind, found, names = "", dict[str, str](), set[str]()
    for line in signed.text.decode(errors="replace").splitlines():
        if match := re.fullmatch(r"# (\w+) HASH", line.strip()):
            kind = match[1]
        elif match := _DIGEST.fullmatch(line.rstrip()):
            names.add(match[2])
            if match[2] == name:
                found[kind] = match[1]
    if not names:
        raise StagewrightError(Reason.BAD_LISTING, f"{name}: no digests found", hint=_HINT)
    if not found:
        what = f"{name}: the signed digests are for another file ({sorted(names)[0]})"
        raise StagewrightError(Reason.WRONG_NAME, what, hint=_HINT)
    return found
