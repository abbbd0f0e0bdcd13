"""Gentoo's signing keys: which are trusted, where they come from, and where they are kept.

Their fingerprints are part of Stagewright (:data:`KEYS`), so it does not matter who sends the keys. On Gentoo they are
those of sec-keys/openpgp-keys-gentoo-release. Elsewhere ``stagewright keys fetch`` gets them into a file of the user.

The keys expire about every year, and Gentoo prolongs them: then the same keys must be fetched again.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.download import download
from stagewright.fetch.openpgp import key_listing, keyring
from stagewright.lazy_dataclass import dataclass
from stagewright.store.durable import write_atomically
from stagewright.temporary import temporary_folder
from stagewright.untrusted import number

SERVICE_KEYS = "https://qa-reports.gentoo.org/output/service-keys.gpg"
"""Address of all keys of Gentoo's services (https://www.gentoo.org/downloads/signatures/)."""

_LARGEST = 4 << 20
"""The largest file of keys (bytes)."""

_DAY = 86400
SOON = 30
"""Number of days before its end in which a key is reported."""


@dataclass(frozen=True)
class GentooKey:
    """A primary key of Gentoo: its fingerprint, what it signs, and the mail address of its owner.

    Today's signatures are by the keys that are ``needed``.
    """

    fingerprint: str
    signs: str
    address: str
    needed: bool = True


KEYS = (
    GentooKey("13EBBDBEDE7A12775DFDB1BABB572E0E2D182910", "release media and binary packages", "releng@gentoo.org"),
    GentooKey("D99EAC7379A850BCE47DA5F29E6438C817072058", "older release media", "releng@gentoo.org", needed=False),
    GentooKey("DCD05B71EAB94199527F44ACDB6B8C1F96D8BF6D", "snapshots and Manifests", "infrastructure@gentoo.org"),
    GentooKey("EF9538C9E8E64311A52CDEDFA13D0EF1914E7A72", "commits of mirrors", "repomirrorci@gentoo.org"),
)
"""The trusted keys (https://www.gentoo.org/downloads/signatures/, and sec-keys/openpgp-keys-gentoo-release)."""

_OPTIONAL = {key.fingerprint for key in KEYS if not key.needed}


@dataclass(frozen=True)
class KeyState:
    """A key in a file: when it expires (seconds since 1970, None: never), and what is wrong with it ("": nothing)."""

    fingerprint: str
    expires: int | None
    problem: str

    @property
    def day(self) -> str:
        """The day on which it expires."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.expires)) if self.expires else "never"

    @property
    def ends_soon(self) -> bool:
        """True if it is good, but not for long."""
        return not self.problem and self.expires is not None and self.expires < time.time() + SOON * _DAY


def key_states(file: Path) -> list[KeyState]:
    """Return the primary keys in a file. Raises: INVALID_VALUE for a file without public keys."""
    return list(_states(key_listing(file)))


def _states(listing: str) -> Iterator[KeyState]:
    """Yield the keys in a listing of gpg (doc/DETAILS of GnuPG). A key needs a part of it that can sign."""
    blocks: list[list[list[str]]] = []
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] == "pub":
            blocks.append([])
        if blocks:
            blocks[-1].append(fields)
    for block in blocks:
        primary = block[0]
        fingerprint = next((fields[9] for fields in block if fields[0] == "fpr"), "")
        signers = [fields for fields in block if fields[0] in ("pub", "sub") and "s" in fields[11]]
        good = [fields for fields in signers if fields[1] not in ("e", "r", "i", "d")]
        ends = [number(fields[6]) for fields in (primary, *good) if fields[6]]
        expires = min((end for end in ends if end), default=None)
        yield KeyState(fingerprint, expires, _problem(primary[1], any(good)))


def _problem(validity: str, can_sign: bool) -> str:
    said = {"e": "has expired", "r": "is revoked", "i": "is invalid", "d": "is disabled"}
    return said.get(validity, "" if can_sign else "has no valid key for signatures")


def addresses() -> list[str]:
    """Return the addresses of the keys: by Web Key Directory for each owner, and the file of all service keys."""
    owners = dict.fromkeys(key.address for key in KEYS)
    return [*(url for owner in owners for url in _directory(owner)), SERVICE_KEYS]


def _directory(address: str) -> list[str]:
    """Return the addresses of a key in a Web Key Directory (draft-koch-openpgp-webkey-service)."""
    local, _, domain = address.partition("@")
    digest = hashlib.sha1(local.lower().encode(), usedforsecurity=False).digest()
    letters = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "ybndrfg8ejkmcpqxot1uwisza345h769")
    name = base64.b32encode(digest).decode().translate(letters)
    place = ".well-known/openpgpkey"
    return [
        f"https://openpgpkey.{domain}/{place}/{domain}/hu/{name}?l={local}",
        f"https://{domain}/{place}/hu/{name}?l={local}",
    ]


def fetch_keys(sources: Sequence[str], target: Path, trusted: Iterable[str] = ()) -> list[KeyState]:
    """Get the trusted keys from files and addresses into ``target``, together with those it has. Return its keys.

    All sources are read, since another one may have a later date of expiry. One that fails does not matter if all
    needed keys are there and good. ``trusted`` replaces the fingerprints of :data:`KEYS`.
    Raises: FETCH_FAILED with all failures if a needed key is missing or not valid.
    """
    wanted = list(trusted) or [key.fingerprint for key in KEYS]
    needed = [name for name in wanted if name not in _OPTIONAL]
    failures: list[str] = []
    with temporary_folder("keys") as folder:
        files: list[Path] = []
        for place, source in enumerate([*([str(target)] if target.is_file() else []), *sources]):
            try:
                file = _received(source, folder / f"source-{place}")
                files.append(_written([file], wanted, folder))
            except StagewrightError as error:
                failures.append(f"{source}: {error.message}")
        merged = _written(files, wanted, folder) if files else None
        if merged is None or (missing := _missing(merged, needed)):
            what = f"keys: not found or not valid: {', '.join(missing if merged else needed)}"
            hint = "name a file or an address with --from; the keys are on https://www.gentoo.org/downloads/signatures/"
            raise StagewrightError(Reason.FETCH_FAILED, what, detail="\n".join(failures), hint=hint)
        _replace(target, merged)
    return key_states(target)


def _received(source: str, place: Path) -> Path:
    if source.startswith(("http://", "https://")):
        return download([source], place, limit=_LARGEST)
    if not Path(source).is_file():
        raise StagewrightError(Reason.MISSING_FILE, "file not found")
    return Path(source)


def _written(files: Sequence[Path], wanted: Iterable[str], folder: Path) -> Path:
    """Write the trusted keys of these files, and nothing else of them, into one file."""
    target = folder / f"merged-{secrets.token_hex(4)}"
    with keyring(files, wanted) as keys:
        keys.export(target)
    return target


def _missing(file: Path, wanted: Iterable[str]) -> list[str]:
    good = {state.fingerprint for state in key_states(file) if not state.problem}
    return [fingerprint for fingerprint in wanted if fingerprint not in good]


def _replace(target: Path, merged: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, merged.read_bytes())  # readable by commands of builds
