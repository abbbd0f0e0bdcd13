"""OpenPGP signatures, verified by GnuPG with a temporary home that holds only the given keys.

The verdict depends on GnuPG's status lines (doc/DETAILS of its sources), not on its exit code or its messages. A
signature is good if it matches, was made by an allowed primary key that is neither expired nor revoked, has not expired
itself, and does not use a broken digest. Each other case has its own reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.run import Result, run
from stagewright.temporary import temporary_folder

_STATUS = "[GNUPG:] "

WEAK = {"1": "MD5", "2": "SHA1", "3": "RIPEMD160"}
"""Digests that can be forged, by their numbers in OpenPGP (RFC 4880, section 9.4)."""

_SIGNATURES = {"GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG"}
"""The status lines with the result of a signature check; GnuPG prints one of them for each signature."""

_PROBLEMS = {
    "BADSIG": (Reason.BAD_SIGNATURE, "signature by {} does not match the content"),
    "REVKEYSIG": (Reason.REVOKED_KEY, "signed with a revoked key, {}"),
    "EXPKEYSIG": (Reason.EXPIRED_KEY, "signed with an expired key, {}"),
    "EXPSIG": (Reason.EXPIRED_SIGNATURE, "signature by {} has expired"),
}

_BEGIN, _END = b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----END PGP SIGNATURE-----"

LARGEST_TEXT = 16 << 20
"""The largest clear-signed text (bytes), since it is read into memory."""

_OPTIONS = """
batch
no-tty
no-autostart
no-auto-key-retrieve
no-auto-key-import
no-greeting
no-auto-check-trustdb
auto-key-locate clear,local
trust-model always
"""
"""gpg.conf of the home, for git, which also calls gpg."""


@dataclass(frozen=True)
class Signature:
    """A good signature: fingerprints of the primary key and of the signing key, and its time (seconds since 1970)."""

    primary: str
    key: str
    time: int


@dataclass(frozen=True)
class SignedText:
    """The signed part of a clear-signed file, and its signature."""

    text: bytes
    signature: Signature


@dataclass(frozen=True)
class _SignatureStatus:
    """The status lines of one signature, split into words: its result, and its details (VALIDSIG)."""

    line: Sequence[str]
    valid: Sequence[str] = ()

    @property
    def primary(self) -> str:
        return self.valid[10] if len(self.valid) > 10 else self.valid[1] if self.valid else ""


@dataclass(frozen=True)
class _Home:
    """A folder with the keys and options of gpg.

    The programs get the path /proc/self/fd/N. With that of the folder, the path of the agent's socket, which gpg looks
    for, can have more than the 108 characters of unix(7), and an import fails.
    """

    folder: Path
    descriptor: int

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path) -> Iterator[_Home]:
        """Yield the home in an existing folder."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield cls(folder, descriptor)
        finally:
            os.close(descriptor)

    @property
    def place(self) -> str:
        """The path of the folder for programs that :meth:`run` starts."""
        return f"/proc/self/fd/{self.descriptor}"

    def run(self, *words: str | Path, env: Mapping[str, str] | None = None, check: bool = True) -> Result:
        """Run a program that can open the folder."""
        return run(words, env=env or {}, check=check, pass_fds=[self.descriptor])

    def gpg(self, *words: str | Path, check: bool = True) -> Result:
        """Run gpg with this home."""
        return self.run("gpg", "--homedir", self.place, *words, check=check)


@dataclass(frozen=True)
class Keyring:
    """Trusted keys in a home of gpg, made by :func:`keyring`."""

    home: _Home
    allowed: frozenset[str]

    def verify(self, signature: Path, file: Path, name: str = "") -> Signature:
        """Verify a detached signature. Raises the reason if it is not good; ``name`` is the file name in the error."""
        status = self._gpg("--verify", str(signature), str(file))
        if f"{_STATUS}PLAINTEXT " in status:
            raise StagewrightError(
                Reason.BAD_SIGNATURE, f"{signature.name}: not a detached signature (it holds a signed text)"
            )
        with _naming(name or file.name):
            return self.good_signature(status)

    def clearsigned(self, path: Path, name: str = "") -> SignedText:
        """Return the text of a clear-signed file. Raises the reason if its signature is not good.

        Raises ``UNSIGNED_TEXT`` for text outside of the signed part: a reader would mistake it for signed text.
        ``name`` is the file name in the error.
        """
        if path.stat().st_size > LARGEST_TEXT:
            raise StagewrightError(
                Reason.BAD_SIGNATURE,
                f"{path.name}: too large for a signed text (limit {LARGEST_TEXT} bytes)",
                hint=_DISCARDED,
            )
        with _naming(name or path.name):
            _check_frame(path.read_bytes())
            with tempfile.TemporaryDirectory(dir=self.home.folder) as folder:
                text = Path(folder, "text")
                status = self._gpg("--output", str(text), "--decrypt", str(path))
                signature = self.good_signature(status)
                return SignedText(text.read_bytes(), signature)

    def verify_commit(self, repository: Path, commit: str) -> Signature:
        """Verify the signature of a commit in a git repository. Raises the reason if it is not good."""
        words = ["git", "-c", "gpg.program=gpg", "-c", f"safe.directory={repository}", "-C", str(repository)]
        env = {"GNUPGHOME": self.home.place, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        said = self.home.run(*words, "verify-commit", "--raw", commit, env=env, check=False)
        with _naming(f"commit {commit}"):
            return self.good_signature(said.stderr)

    def export(self, file: Path) -> None:
        """Write the keys to a new file."""
        self.home.gpg("--batch", "--output", file, "--export")

    def good_signature(self, status: str) -> Signature:
        """Return the good signature in gpg's status lines. Raises the reason if there is none."""
        found = list(_signatures(status))
        if not found:
            raise StagewrightError(Reason.NO_SIGNATURE, "not signed", hint=_DISCARDED)
        bad = [one for one in found if one.line[0] == "BADSIG"]
        good = [one for one in found if not bad and self._problem(one) is None]
        if good:
            one = good[0]
            return Signature(one.primary, one.valid[1], int(one.valid[3]))
        problem = self._problem((bad or found)[0])
        assert problem
        reason, what = problem
        hints = {Reason.EXPIRED_KEY: _RENEW, Reason.REVOKED_KEY: _RENEW, Reason.UNKNOWN_SIGNER: _TRUST}
        raise StagewrightError(reason, what, detail=status.strip(), hint=hints.get(reason, _DISCARDED))

    def _problem(self, found: _SignatureStatus) -> tuple[Reason, str] | None:
        """Return the problem of a signature; None if it is good."""
        problem = problem_of(found.line)
        if problem:
            return problem
        if not found.valid:
            return Reason.BAD_SIGNATURE, "signature cannot be verified"
        if found.valid[8] in WEAK:
            return Reason.WEAK_DIGEST, f"signature uses {WEAK[found.valid[8]]}, which can be forged"
        if found.primary not in self.allowed:
            return Reason.UNKNOWN_SIGNER, f"signed with an unknown key, {found.primary}"
        if int(found.valid[3]) > time.time() + 86400:
            return Reason.SIGNATURE_TIME, "signature date is in the future"
        return None

    def _gpg(self, *words: str) -> str:
        """Run gpg and return its status lines."""
        return self.home.gpg("--status-fd", "1", *words, check=False).stdout


_DISCARDED = "the file was discarded: try another mirror, and report this one"
_RENEW = (
    "put the current keys of the signer into the keyring; Gentoo's: stagewright keys fetch, also if they were prolonged"
)
_TRUST = "to trust this key, add its fingerprint to `keys` and the key to the keyring"


@contextlib.contextmanager
def keyring(files: Iterable[Path], fingerprints: Iterable[str] = ()) -> Iterator[Keyring]:
    """Make a temporary keyring of the keys in these files; with ``fingerprints``, only of the keys named there.

    Raises ``INVALID_VALUE`` for a file without public keys or with secret keys, ``NO_KEYS`` if no file has a named key.
    """
    files = list(files)
    wanted = {fingerprint.replace(" ", "").upper() for fingerprint in fingerprints}
    with temporary_folder("gnupg") as folder, _Home.open(folder) as home:
        (folder / "gpg.conf").write_text(_OPTIONS, encoding="utf-8")
        present: set[str] = set()
        for file in files:
            mine = set(_public_keys(file, home))
            chosen = mine & wanted if wanted else mine
            if chosen:
                _import(home, file, chosen)
            present |= chosen
        if not present:
            where = ", ".join(map(str, files))
            raise StagewrightError(
                Reason.NO_KEYS,
                f"{where}: none of the keys found ({', '.join(sorted(wanted))})",
                hint="correct `keys`, or set `keyring` to the file that holds them",
            )
        yield Keyring(home, frozenset(present))


def key_listing(file: Path) -> str:
    """Return gpg's listing of the keys in a file (doc/DETAILS of GnuPG).

    Raises ``INVALID_VALUE`` for no keys or secret keys.
    """
    with temporary_folder("gnupg") as folder, _Home.open(folder) as home:
        listing = _listing(file, home)
    checked_keys(listing, file)
    return listing


def _listing(file: Path, home: _Home) -> str:
    # Without the options of the home, gpg makes the trustdb that it needs to show a key which is no longer valid.
    options = ["--no-options", "--batch", "--no-tty", "--with-colons"]
    return home.gpg(*options, "--show-keys", file, check=False).stdout


def _public_keys(file: Path, home: _Home) -> list[str]:
    """Return the fingerprints of the primary keys in a file. Raises ``INVALID_VALUE`` for no keys or secret keys."""
    return checked_keys(_listing(file, home), file)


def checked_keys(listing: str, file: Path | str, name: str = "keyring") -> list[str]:
    """Return the fingerprints of the primary keys in a listing of gpg (doc/DETAILS of GnuPG).

    Raises ``INVALID_VALUE`` for no keys or secret keys; ``name`` is the setting that names the file.
    """
    kinds = {line.partition(":")[0] for line in listing.splitlines()}
    if "pub" not in kinds or "sec" in kinds:
        what = "holds secret keys" if "sec" in kinds else "holds no OpenPGP public keys"
        raise StagewrightError(
            Reason.INVALID_VALUE,
            f"{name}: the file {what}",
            detail=str(file),
            hint="write it with: gpg --armor --export FINGERPRINT",
        )
    return list(_primary_fingerprints(listing))


def problem_of(line: Sequence[str]) -> tuple[Reason, str] | None:
    """Return the problem in a status line of gpg (split into words), or None."""
    kind = line[0]
    if kind in _PROBLEMS:
        reason, saying = _PROBLEMS[kind]
        return reason, saying.format(line[1])
    if kind == "ERRSIG":  # <key id> <algorithm> <digest> <class> <time> <code> <fingerprint>
        if line[3] in WEAK:
            return Reason.WEAK_DIGEST, f"signature uses {WEAK[line[3]]}, which can be forged"
        if line[6] == "9":
            signer = line[7] if len(line) > 7 and line[7] != "-" else line[1]
            return Reason.UNKNOWN_SIGNER, f"signed with an unknown key, {signer}"
        return Reason.BAD_SIGNATURE, f"signature by {line[1]} cannot be verified"
    return None


def first_problem(status: str) -> tuple[Reason, str]:
    """Return the problem of a file that gpg rejected, from a log that holds gpg's status lines."""
    status = "\n".join(_STATUS + line.partition(_STATUS)[2] for line in status.splitlines() if _STATUS in line)
    for found in _signatures(status):
        if problem := problem_of(found.line):
            return problem
    if f"{_STATUS}NODATA" in status:
        return Reason.NO_SIGNATURE, "not signed"
    return Reason.BAD_SIGNATURE, "signature is not good"


def _signatures(status: str) -> Iterator[_SignatureStatus]:
    """Yield the status lines of each signature."""
    line: list[str] = []
    for text in status.splitlines():
        words = text.removeprefix(_STATUS).split() if text.startswith(_STATUS) else [""]
        if words and words[0] in _SIGNATURES:
            if line:
                yield _SignatureStatus(line)
            line = words
        elif words and words[0] == "VALIDSIG" and line:
            yield _SignatureStatus(line, words)
            line = []
    if line:
        yield _SignatureStatus(line)


def _check_frame(data: bytes) -> None:
    """Raise an error if data is not exactly one clear-signed text."""
    lines = data.split(b"\n")
    begins = [number for number, line in enumerate(lines) if line.rstrip() == _BEGIN]
    if not begins:
        raise StagewrightError(Reason.NO_SIGNATURE, "not signed", hint=_DISCARDED)
    ends = [number for number, line in enumerate(lines) if line.rstrip() == _END]
    around = b"\n".join(lines[: begins[0]] + (lines[ends[0] + 1 :] if ends else [])).strip()
    if not ends or len(begins) > 1 or len(ends) > 1 or around:
        what = "unsigned text around the signed text" if ends else "signature is truncated"
        raise StagewrightError(Reason.UNSIGNED_TEXT if ends else Reason.BAD_SIGNATURE, what, hint=_DISCARDED)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix errors with the name of the file."""
    try:
        yield
    except StagewrightError as error:
        message = f"{name}: {error.message}"
        raise StagewrightError(error.reason, message, hint=error.hint, detail=error.detail) from error


def _import(home: _Home, file: Path, chosen: Iterable[str]) -> None:
    """Import only the chosen keys of a file."""
    folder = home.folder / "aside"
    folder.mkdir(mode=0o700)
    picked = folder / "picked"
    options = ["--batch", "--no-tty", "--quiet", "--no-autostart"]
    with _Home.open(folder) as aside:
        aside.gpg(*options, "--import", file, check=False)
        aside.gpg(*options, "--output", picked, "--export", *sorted(chosen))
    home.gpg(*options, "--import", picked)
    shutil.rmtree(folder)


def _primary_fingerprints(listing: str) -> Iterator[str]:
    kind = ""
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] == "fpr" and kind == "pub":
            yield fields[9]
        kind = fields[0]
