"""What a mirror of Gentoo's release media has, believed only as far as Gentoo's keys vouch for it.

::

    releases/<arch>/autobuilds/latest-<variant>.txt      clear-signed: # ts=..., <stamp>/<file> <bytes>
    releases/<arch>/autobuilds/latest-stage3.txt         the same for all stage3s of the architecture
    releases/<arch>/autobuilds/<stamp>/<file>            <variant>-<stamp>.tar.xz
    ...<file>.DIGESTS                                    clear-signed: BLAKE2B and SHA512 of it
    ...<file>.sha256                                     clear-signed: SHA256 of it
    ...<file>.asc                                        detached signature

A mirror is asked in vain if any of this is missing, unsigned, for another file or older than what was known before.
"""

from __future__ import annotations

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
from stagewright.fetch.download import Progress, download
from stagewright.fetch.openpgp import Keyring, SignedText

RELEASE_KEYS = (
    "13EBBDBEDE7A12775DFDB1BABB572E0E2D182910",  # Automated Weekly Release Key
    "D99EAC7379A850BCE47DA5F29E6438C817072058",  # Gentoo Linux Release Signing Key
)
"""Whom Gentoo has sign its release media, by primary key (https://www.gentoo.org/downloads/signatures/)."""

KEYRING = Path("/usr/share/openpgp-keys/gentoo-release.asc")
"""Where sec-keys/openpgp-keys-gentoo-release puts the keys."""

_FOLDERS = {"mips64": "mips", "ppc64": "ppc", "rv32": "riscv", "rv64": "riscv", "s390x": "s390", "sparc64": "sparc"}
"""Folders of architectures that are not called as these are."""

MIRROR = "https://distfiles.gentoo.org"

VARIANT = r"stage[1-4]-[a-z0-9_.]+(-[A-Za-z0-9_+.]+)*"

_SMALL = 1 << 20
"""Bytes that a listing or a signature may have."""

_FILE = rf"(?P<variant>{VARIANT})-(?P=stamp)\.tar\.(xz|zst|bz2|gz)"
_LINE = re.compile(rf"(?P<stamp>\d{{8}}T\d{{6}}Z)/{_FILE} +(?P<size>\d+)")
_WHEN = re.compile(r"^# ts=(\d{1,12})$", re.MULTILINE)
_DIGEST = re.compile(r"^([0-9a-f]{32,128})  (\S+)$")

_ASK = "nothing of it was kept; try another mirror"

T = TypeVar("T")


@dataclass(frozen=True)
class StageTarball:
    """A tarball that a listing names: its path below ``autobuilds``, size in bytes, and the moment of its build."""

    variant: str
    stamp: str
    path: str
    size: int

    @property
    def file(self) -> str:
        """The name of the file alone."""
        return self.path.rpartition("/")[2]

    @property
    def date(self) -> str:
        """Its day, as people write it."""
        return day_of(self.stamp)


@dataclass(frozen=True)
class SignedTarball:
    """A tarball with the digests that are signed, and who signed them."""

    stage: StageTarball
    sha512: str
    blake2b: str
    signer: str


@dataclass(frozen=True)
class ReleaseMirror:
    """One or several mirrors that have the same, asked in this order."""

    urls: Sequence[str]
    arch: str
    keys: Keyring
    folder: Path  # for what is fetched to be read and thrown away

    def latest(self, variant: str, known: str = "") -> StageTarball:
        """The newest tarball of a variant.

        ``known`` is the moment of one that was seen before: an older one is refused (``REPLAYED``). Raises
        ``UNKNOWN_NAME`` for a variant that the mirror has not, with the nearest that it has.
        """

        def check(signed: SignedText) -> StageTarball:
            (stage,) = _only(_stages(signed), f"latest-{variant}.txt")
            if stage.variant != variant:
                what = f"latest-{variant}.txt names {stage.file}, which is another variant"
                raise StagewrightError(Reason.WRONG_NAME, what, hint=_ASK)
            if known and stage.stamp < known:
                what = f"latest-{variant}.txt is of {stage.stamp}, but one of {known} is pinned already"
                raise StagewrightError(
                    Reason.REPLAYED, what, hint=f"{_ASK}; to go back, remove the pin from stagewright.lock"
                )
            return stage

        try:
            return self._signed(f"latest-{variant}.txt", check)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            have = {stage.variant for stage in self.listing()}
            what = f"{self.urls[0]} has no {variant} for {self.arch}"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=nearest(variant, have)) from error

    def listing(self) -> list[StageTarball]:
        """All stage3s of the architecture, by name. Raises ``UNKNOWN_NAME`` for one that the mirror has not."""
        try:
            return sorted(self._signed("latest-stage3.txt", _stages), key=lambda stage: stage.variant)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            what = f"{self.urls[0]} has no listing of stage3s for {self.arch}"
            hint = "`arch` is Gentoo's name of the architecture, such as amd64 or arm64"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=hint) from error

    def digests(self, stage: StageTarball) -> SignedTarball:
        """What the signed files beside a tarball say of it."""
        both, signer = self._signed(f"{stage.path}.DIGESTS", lambda signed: (_digests(signed, stage.file), signed))
        if missing := {"SHA512", "BLAKE2B"} - set(both):
            what = f"{stage.file}.DIGESTS has no {' and no '.join(sorted(missing))}"
            raise StagewrightError(Reason.BAD_LISTING, what, hint=_ASK)
        return SignedTarball(stage, both["SHA512"], both["BLAKE2B"], signer.signature.primary)

    def fetch(self, found: SignedTarball, target: Path, progress: Progress) -> Path:
        """The tarball, verified in every way that there is: digests, the .sha256, its detached signature."""
        stage = found.stage
        weaker = self._signed(f"{stage.path}.sha256", lambda signed: _digests(signed, stage.file))
        if "SHA256" not in weaker:
            raise StagewrightError(Reason.BAD_LISTING, f"{stage.file}.sha256 has no SHA256", hint=_ASK)
        signature = self._small(f"{stage.path}.asc", lambda path: None)

        def verify(path: Path) -> None:
            check_checksums(
                path, stage.file, {"sha512": found.sha512, "blake2b": found.blake2b, "sha256": weaker["SHA256"]}
            )
            self.keys.verify(signature, path, stage.file)

        where = urls(self.urls, self.arch, stage.path)
        return download(where, target, size=stage.size, verify=verify, progress=progress)

    def _signed(self, path: str, read: Callable[[SignedText], T]) -> T:
        """What a clear-signed file says, from the first mirror where it is as it must be."""
        said: list[T] = []
        self._small(path, lambda file: said.append(read(self.keys.clearsigned(file, path.rpartition("/")[2]))))
        return said[-1]

    def _small(self, path: str, verify: Callable[[Path], None]) -> Path:
        target = self.folder / path.rpartition("/")[2]
        target.unlink(missing_ok=True)
        where = urls(self.urls, self.arch, path)
        return download(where, target, limit=_SMALL, verify=verify)


def urls(mirrors: Sequence[str], arch: str, path: str) -> list[str]:
    """Where the mirrors have a file."""
    return [f"{mirror.rstrip('/')}/releases/{arch}/autobuilds/{path}" for mirror in mirrors]


def directory(variant: str, arch: Arch | None) -> str:
    """The folder of an architecture's releases: the one that is given, else the one that the variant is for."""
    word = variant.split("-")[1]
    known = {name: subarch.arch for name, subarch in subarches().items()}
    mine = arch.value if arch else known.get(word, known.get(word.partition("_")[0], word.partition("_")[0]))
    return folder_of(mine)


def folder_of(arch: str) -> str:
    """The folder of an architecture's releases."""
    return _FOLDERS.get(arch, arch)


def day_of(stamp: str) -> str:
    """The day of a moment such as 20261115T170000Z, as people write it."""
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"


def stamp_of(file: str, variant: str) -> str:
    """The moment in the name of a tarball of this variant; nothing for any other file."""
    found = re.fullmatch(rf"{re.escape(variant)}-(\d{{8}}T\d{{6}}Z)\.tar\.\w+", file)
    return found[1] if found else ""


def path_of(file: str, variant: str) -> str:
    """The path of a tarball below ``autobuilds``."""
    return f"{stamp_of(file, variant)}/{file}"


def existing_keyring(file: Path) -> Path:
    """The keyring, if it is there. Raises ``NO_KEYS``."""
    if not file.is_file():
        hint = (
            "emerge sec-keys/openpgp-keys-gentoo-release; elsewhere take that file from a Gentoo system that you "
            'trust, put it into the project, and write its name: keyring = "keys/gentoo-release.asc"'
        )
        raise StagewrightError(Reason.NO_KEYS, f"Gentoo's release keys are not here: there is no {file}", hint=hint)
    return file


def age(stage: StageTarball) -> int:
    """How many days ago it was built."""
    built = time.mktime(time.strptime(stage.stamp, "%Y%m%dT%H%M%SZ")) - time.timezone
    return int((time.time() - built) // 86400)


def _stages(signed: SignedText) -> list[StageTarball]:
    """The tarballs in a listing. Raises ``BAD_LISTING`` for one that makes no sense."""
    text = signed.text.decode(errors="replace")
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            match = _LINE.fullmatch(line.rstrip())
            if not match:
                raise StagewrightError(Reason.BAD_LISTING, f"the listing has a strange line: {line!r}", hint=_ASK)
            path = line.partition(" ")[0]
            found.append(StageTarball(match["variant"], match["stamp"], path, int(match["size"])))
    if not found or not _WHEN.search(text):
        raise StagewrightError(Reason.BAD_LISTING, "the listing names nothing, or has no date", hint=_ASK)
    return found


def _only(stages: list[StageTarball], name: str) -> list[StageTarball]:
    if len(stages) != 1:
        raise StagewrightError(Reason.BAD_LISTING, f"{name} names {len(stages)} files instead of one", hint=_ASK)
    return stages


def _digests(signed: SignedText, name: str) -> dict[str, str]:
    """The digests of a file by kind. Raises ``WRONG_NAME`` when there are only those of other files."""
    kind, found, names = "", dict[str, str](), set[str]()
    for line in signed.text.decode(errors="replace").splitlines():
        if match := re.fullmatch(r"# (\w+) HASH", line.strip()):
            kind = match[1]
        elif match := _DIGEST.fullmatch(line.rstrip()):
            names.add(match[2])
            if match[2] == name:
                found[kind] = match[1]
    if not names:
        raise StagewrightError(Reason.BAD_LISTING, f"there are no digests for {name}", hint=_ASK)
    if not found:
        what = f"the signed digests are for {sorted(names)[0]}, not for {name}"
        raise StagewrightError(Reason.WRONG_NAME, what, hint=_ASK)
    return found
