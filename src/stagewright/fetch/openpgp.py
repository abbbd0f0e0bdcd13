"""OpenPGP signatures, verified by GnuPG in a home of its own that holds the given keys and nothing else.

What counts are GnuPG's status lines (doc/DETAILS of its sources), never its exit code or prose. A signature is good
when it fits, is of an allowed primary key that has neither expired nor been revoked, has not expired itself, and rests
on no broken digest. Each other case has its reason.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.run import run

_STATUS = "[GNUPG:] "

WEAK = {"1": "MD5", "2": "SHA1", "3": "RIPEMD160"}
"""Digests that can be forged, by their numbers in OpenPGP (RFC 4880, section 9.4)."""

_SIGNATURES = {"GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG"}
"""The status lines that say how a signature fared; for each signature there is one of them."""

_SAYINGS = {
    "BADSIG": (Reason.BAD_SIGNATURE, "its signature by {} does not fit its content"),
    "REVKEYSIG": (Reason.REVOKED_KEY, "it is signed with the key {}, which was revoked"),
    "EXPKEYSIG": (Reason.EXPIRED_KEY, "it is signed with the key {}, which has expired"),
    "EXPSIG": (Reason.EXPIRED_SIGNATURE, "its signature by {} has expired"),
}

_BEGIN, _END = b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----END PGP SIGNATURE-----"

LARGEST_TEXT = 16 << 20
"""Bytes that a clear-signed text may have: it is held in memory."""

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
"""gpg.conf of the home, for whoever else calls gpg with it (git)."""


@dataclass(frozen=True)
class Signature:
    """A good signature: the fingerprints of the primary key and of the key that made it, and when, in seconds."""

    primary: str
    key: str
    made: int


@dataclass(frozen=True)
class SignedText:
    """A text without its signature: exactly what was signed."""

    text: bytes
    signature: Signature


@dataclass(frozen=True)
class _SignatureStatus:
    """One signature in GnuPG's words: the status line that says how it fared, and that of its facts, split."""

    line: Sequence[str]
    valid: Sequence[str] = ()

    @property
    def primary(self) -> str:
        return self.valid[10] if len(self.valid) > 10 else self.valid[1] if self.valid else ""


@dataclass(frozen=True)
class Keyring:
    """Keys that are trusted, in a home for gpg. Made by :func:`keyring`."""

    home: Path
    allowed: frozenset[str]

    def verify(self, signature: Path, file: Path, name: str = "") -> Signature:
        """Verify a detached signature. Raises the reason why it is not good; ``name`` is what that calls the file."""
        status = self._gpg("--verify", str(signature), str(file))
        if f"{_STATUS}PLAINTEXT " in status:
            raise StagewrightError(
                Reason.BAD_SIGNATURE, f"{signature.name} is a signed text, not a signature of a file"
            )
        with _naming(name or file.name):
            return self.judge(status)

    def clearsigned(self, path: Path, name: str = "") -> SignedText:
        """The text of a clear-signed file. Raises the reason why its signature is not good; ``name`` is for that.

        Text around the signed one is refused (``UNSIGNED_TEXT``): whoever reads the file would take it for signed.
        """
        if path.stat().st_size > LARGEST_TEXT:
            raise StagewrightError(Reason.BAD_SIGNATURE, f"{path.name} is larger than any signed text", hint=_ASK)
        with _naming(name or path.name):
            _check_frame(path.read_bytes())
            with tempfile.TemporaryDirectory(dir=self.home) as folder:
                text = Path(folder, "text")
                status = self._gpg("--output", str(text), "--decrypt", str(path))
                signature = self.judge(status)
                return SignedText(text.read_bytes(), signature)

    def commit(self, repository: Path, commit: str) -> Signature:
        """Verify the signature of a commit in a git repository. Raises the reason why it is not good."""
        words = ["git", "-c", "gpg.program=gpg", "-c", f"safe.directory={repository}", "-C", str(repository)]
        env = {"GNUPGHOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        said = run([*words, "verify-commit", "--raw", commit], env=env, check=False)
        with _naming(f"commit {commit}"):
            return self.judge(said.stderr)

    def judge(self, status: str) -> Signature:
        """The good signature in gpg's status lines. Raises the reason why there is none."""
        found = list(_signatures(status))
        if not found:
            raise StagewrightError(Reason.NO_SIGNATURE, "it is not signed", hint=_ASK)
        bad = [one for one in found if one.line[0] == "BADSIG"]
        good = [one for one in found if not bad and self._problem(one) is None]
        if good:
            one = good[0]
            return Signature(one.primary, one.valid[1], int(one.valid[3]))
        problem = self._problem((bad or found)[0])
        assert problem
        reason, what = problem
        hints = {Reason.EXPIRED_KEY: _RENEW, Reason.REVOKED_KEY: _RENEW, Reason.UNKNOWN_SIGNER: _TRUST}
        raise StagewrightError(reason, what, detail=status.strip(), hint=hints.get(reason, _ASK))

    def _problem(self, found: _SignatureStatus) -> tuple[Reason, str] | None:
        """Why a signature does not count, None if it does."""
        problem = problem_of(found.line)
        if problem:
            return problem
        if not found.valid:
            return Reason.BAD_SIGNATURE, "its signature cannot be verified"
        if found.valid[8] in WEAK:
            return Reason.WEAK_DIGEST, f"its signature rests on {WEAK[found.valid[8]]}, which can be forged"
        if found.primary not in self.allowed:
            return Reason.UNKNOWN_SIGNER, f"it is signed with another key, {found.primary}"
        if int(found.valid[3]) > time.time() + 86400:
            return Reason.SIGNATURE_TIME, "its signature is dated in the future"
        return None

    def _gpg(self, *words: str) -> str:
        """Gpg's status lines."""
        command = ["gpg", "--homedir", str(self.home), "--status-fd", "1", *words]
        return run(command, check=False).stdout


_ASK = "nothing of it was kept; get it from another mirror, and tell who runs this one"
_RENEW = "get the signers' present keys, and put them into the keyring"
_TRUST = "if that is a key to be trusted, add its fingerprint to `keys` and the key to the keyring"


@contextlib.contextmanager
def keyring(files: Iterable[Path], fingerprints: Iterable[str] = ()) -> Iterator[Keyring]:
    """A keyring of the keys in these files; of those, only the ones with these fingerprints if there are any.

    It lies in a new folder of the system's temporary ones (their names are short enough for the sockets of GnuPG), and
    is gone in the end. Raises ``INVALID_VALUE`` for a file that holds no keys or secret ones, ``NO_KEYS`` when none of
    the fingerprints is there.
    """
    files = list(files)
    wanted = {fingerprint.replace(" ", "").upper() for fingerprint in fingerprints}
    with tempfile.TemporaryDirectory(prefix="gnupg-") as name:
        home = Path(name)
        (home / "gpg.conf").write_text(_OPTIONS, encoding="utf-8")
        present: set[str] = set()
        for file in files:
            mine = set(public_keys(file, home))
            chosen = mine & wanted if wanted else mine
            if chosen:
                _import(home, file, chosen)
            present |= chosen
        if not present:
            where = ", ".join(map(str, files))
            raise StagewrightError(
                Reason.NO_KEYS,
                f"{where} has none of the keys {', '.join(sorted(wanted))}",
                hint="correct `keys`, or name the file that holds them in `keyring`",
            )
        yield Keyring(home, frozenset(present))


def public_keys(file: Path, home: Path) -> list[str]:
    """The fingerprints of the primary keys in a file. Raises ``INVALID_VALUE`` if it holds none, or secret keys."""
    words = ["gpg", "--homedir", str(home), "--with-colons", "--show-keys", str(file)]
    return checked_keys(run(words, check=False).stdout, file)


def checked_keys(listing: str, file: Path | str, name: str = "keyring") -> list[str]:
    """The fingerprints of the primary keys in a listing of gpg (doc/DETAILS of GnuPG).

    Raises ``INVALID_VALUE`` when there are none or secret ones; ``name`` is what the project calls the file.
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
    return list(_primary(listing))


def problem_of(line: Sequence[str]) -> tuple[Reason, str] | None:
    """What a status line of gpg, split into words, says is wrong with a signature; None when nothing is."""
    kind = line[0]
    if kind in _SAYINGS:
        reason, saying = _SAYINGS[kind]
        return reason, saying.format(line[1])
    if kind == "ERRSIG":  # <key id> <algorithm> <digest> <class> <time> <code> <fingerprint>
        if line[3] in WEAK:
            return Reason.WEAK_DIGEST, f"its signature rests on {WEAK[line[3]]}, which can be forged"
        if line[6] == "9":
            signer = line[7] if len(line) > 7 and line[7] != "-" else line[1]
            return Reason.UNKNOWN_SIGNER, f"it is signed with another key, {signer}"
        return Reason.BAD_SIGNATURE, f"its signature by {line[1]} cannot be verified"
    return None


def first_problem(status: str) -> tuple[Reason, str]:
    """What is wrong with what gpg did not take, by its status lines, which may stand among others."""
    status = "\n".join(_STATUS + line.partition(_STATUS)[2] for line in status.splitlines() if _STATUS in line)
    for found in _signatures(status):
        if problem := problem_of(found.line):
            return problem
    if f"{_STATUS}NODATA" in status:
        return Reason.NO_SIGNATURE, "it is not signed"
    return Reason.BAD_SIGNATURE, "its signature is not good"


def _signatures(status: str) -> Iterator[_SignatureStatus]:
    """The signatures that gpg saw, with what it says of each."""
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
    """Raise for what is no clear-signed text, or has text around it."""
    lines = data.split(b"\n")
    begins = [number for number, line in enumerate(lines) if line.rstrip() == _BEGIN]
    if not begins:
        raise StagewrightError(Reason.NO_SIGNATURE, "it is not signed", hint=_ASK)
    ends = [number for number, line in enumerate(lines) if line.rstrip() == _END]
    around = b"\n".join(lines[: begins[0]] + (lines[ends[0] + 1 :] if ends else [])).strip()
    if not ends or len(begins) > 1 or len(ends) > 1 or around:
        what = "it has text that is not signed around the signed text" if ends else "its signature is cut off"
        raise StagewrightError(Reason.UNSIGNED_TEXT if ends else Reason.BAD_SIGNATURE, what, hint=_ASK)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name in an error what it is about."""
    try:
        yield
    except StagewrightError as error:
        message = f"{name}: {error.message}"
        raise StagewrightError(error.reason, message, hint=error.hint, detail=error.detail) from error


def _import(home: Path, file: Path, chosen: Iterable[str]) -> None:
    """Take the chosen keys of a file, and no other key that is in it."""
    aside = home / "aside"
    aside.mkdir(mode=0o700)
    picked = aside / "picked"
    gpg = ["gpg", "--batch", "--no-tty", "--quiet", "--no-autostart", "--homedir"]
    run([*gpg, str(aside), "--import", str(file)], check=False)
    run([*gpg, str(aside), "--output", str(picked), "--export", *sorted(chosen)])
    run([*gpg, str(home), "--import", str(picked)])
    shutil.rmtree(aside)


def _primary(listing: str) -> Iterator[str]:
    kind = ""
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] == "fpr" and kind == "pub":
            yield fields[9]
        kind = fields[0]
