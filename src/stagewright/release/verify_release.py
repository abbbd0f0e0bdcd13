"""Verification of a release by its users: signatures, versions, digests, completeness, and provenance.

Only keys that the caller names are trusted. ``latest-<name>.txt`` leads to the version; its signature covers the digest
of ``SHA256SUMS``, and the signature of that list covers every file. ``release.json`` binds name and version.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.fetch.openpgp import Keyring, keyring
from stagewright.release.artifact_digests import LISTED, Digester, FileDigests
from stagewright.release.pointer import Pointer, pointer_name
from stagewright.release.release_files import ReleaseFiles, open_files, read_small
from stagewright.release.release_folder import DESCRIPTION, DIGESTS, LATEST, LISTS, SUMS, Description, read_sums
from stagewright.release.seen import SeenReleases
from stagewright.release.signing import DETACHED, FEED_SIGNED, MINISIGNED, PUBLIC_KEY, verify_minisign
from stagewright.release.verify_provenance import Origin, verify_provenance
from stagewright.temporary import temporary_folder
from stagewright.untrusted import TEXT_LIMIT

SMALL = 1 << 20
"""The largest pointer and signature (bytes)."""

PAUSE = 2.0
"""Seconds after which a pointer on a web server is read again."""


@dataclass(frozen=True)
class TrustedKeys:
    """Keys that must have signed a release: files with OpenPGP keys, fingerprints, public keys of minisign.

    Without fingerprints every key in the files is trusted. Without files the key comes from the release, and its
    fingerprint is checked.
    """

    files: Sequence[Path] = ()
    fingerprints: Sequence[str] = ()
    minisign: Sequence[str] = ()

    @property
    def openpgp(self) -> bool:
        """True if an OpenPGP signature is required."""
        return bool(self.files or self.fingerprints)


@dataclass(frozen=True)
class VerifiedRelease:
    """A release that was verified. ``signers`` are fingerprints and public keys. ``listed`` is False if its folder
    could not be listed, so that files which do not belong to it were not looked for. ``origin`` is the state of the
    project that it was made of."""

    release: str
    version: str
    date: int
    files: int
    bytes: int
    signers: Sequence[str] = ()
    listed: bool = True
    origin: Origin = field(default_factory=Origin)


@dataclass
class ReleaseVerifier:
    """Verifies releases below a folder, where the pointers and public keys are.

    ``seen`` is the state of this user. ``pause`` is the time in seconds after which a pointer whose signature does not
    match is read again; None: never. ``release`` is the wanted release, with its project; "": any.
    """

    files: ReleaseFiles
    keys: TrustedKeys
    seen: SeenReleases | None = None
    pause: float | None = None
    release: str = ""
    signers: list[str] = field(default_factory=list)

    def newest(self, name: str, folder: str = "") -> VerifiedRelease:
        """Verify the version that a pointer names (``latest-<name>.txt``). Raises every problem at once.

        ``folder`` is where the version is; default: the folder with its name.
        """
        with self._opened() as keys:
            text = self._pointer_text(keys, name)
            pointer = Pointer.parse(text.decode("utf-8", errors="replace"), name)
            self._check_pointer(pointer, name)
            found = self._version(keys, folder or pointer.version, pointer)
        if self.seen:
            self.seen.remember(pointer, self._address(name))
        return replace(found, signers=tuple(dict.fromkeys(self.signers)))

    def linked(self, folder: str) -> VerifiedRelease:
        """Verify a folder that leads to the newest version, such as the link ``latest``, and the pointer to it.

        Only the name of the pointer comes from the folder.
        """
        description = Description.parse(read_small(self.files.below(folder), DESCRIPTION, TEXT_LIMIT))
        return self.newest(pointer_name(description.release), folder)

    def version(self, folder: str) -> VerifiedRelease:
        """Verify the folder of one version. Raises every problem at once."""
        with self._opened() as keys:
            found = self._version(keys, folder, None)
        return replace(found, signers=tuple(dict.fromkeys(self.signers)))

    def read_newest(self, name: str, path: str, limit: int) -> tuple[Pointer, bytes]:
        """Return a pointer, and one file of the version that it names, after the signatures were verified.

        The pointer can be outdated or older than one that was seen. Raises: NOT_FOUND if a file does not exist.
        """
        with self._opened() as keys:
            text = self._signed_text(keys, name, read_small(self.files, name, SMALL))
            pointer = Pointer.parse(text.decode("utf-8", errors="replace"), name)
            files = self.files.below(pointer.version)
            data = self._verify_list(keys, files, SUMS)
        if hashlib.sha256(data).hexdigest() != pointer.sums:
            raise StagewrightError(Reason.DIGEST_MISMATCH, f"{pointer.version}/{SUMS}: not the list that {name} names")
        listed = read_sums(data.decode("utf-8", errors="replace"))
        if path not in listed:
            raise StagewrightError(Reason.NOT_FOUND, f"{pointer.version}/{path}: not a file of the release")
        content = read_small(files, path, limit)
        if hashlib.sha256(content).hexdigest() != listed[path]:
            raise StagewrightError(Reason.DIGEST_MISMATCH, f"{pointer.version}/{path}: content differs from {SUMS}")
        return pointer, content

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Keyring | None]:
        """Open the trusted keys; None without OpenPGP keys."""
        if not self.keys.openpgp:
            yield None
            return
        with contextlib.ExitStack() as held:
            files = list(self.keys.files)
            if not files:
                folder = held.enter_context(temporary_folder("verify"))
                (folder / PUBLIC_KEY).write_bytes(read_small(self.files, PUBLIC_KEY, SMALL))
                files = [folder / PUBLIC_KEY]
            yield held.enter_context(keyring(files, self.keys.fingerprints))

    def _check_pointer(self, pointer: Pointer, name: str) -> None:
        """Check that a signed pointer is for this file, still valid, and not older than the newest one known."""
        release = pointer.release.partition("/")[2]
        if pointer_name(release) != name:
            what = f"{name}: signed, but for the release {release!r}"
            raise StagewrightError(Reason.WRONG_NAME, what, hint="report this server")
        if pointer.expires is not None and pointer.expires < time.time():
            day = time.strftime("%Y-%m-%d", time.gmtime(pointer.expires))
            hint = "the mirror may hold back updates: try another one"
            raise StagewrightError(Reason.OUTDATED, f"{name}: was valid until {day}", hint=hint)
        if self.seen:
            self.seen.check(pointer, name, self._address(name))

    def _address(self, name: str) -> str:
        """Return the address of a pointer on the web; "" for one on a disk, where folders are used for anything."""
        return f"{self.files.name}/{name}" if "://" in self.files.name else ""

    def _pointer_text(self, keys: Keyring | None, name: str) -> bytes:
        """Return the text of a pointer after its signatures were verified.

        A server may replace the pointer and its signature by minisign just now, one after the other. So both are read
        once more if they do not match.
        """
        try:
            return self._signed_text(keys, name, read_small(self.files, name, SMALL))
        except StagewrightError as error:
            if error.reason is not Reason.BAD_SIGNATURE or not self.keys.minisign or self.pause is None:
                raise
        time.sleep(self.pause)
        return self._signed_text(keys, name, read_small(self.files, name, SMALL))

    def _signed_text(self, keys: Keyring | None, name: str, data: bytes) -> bytes:
        """Return the text of a pointer after its signatures were verified."""
        with _as_file(name, data) as path:
            if self.keys.minisign:
                self._minisigned(self.files, name, path)
            if keys:
                signed = keys.clearsigned(path, name)
                self.signers.append(signed.signature.primary)
                return signed.text
        return _plain_text(data)

    def _verify_list(self, keys: Keyring | None, files: ReleaseFiles, name: str) -> bytes:
        """Return a list of digests after its signatures were verified."""
        data = read_small(files, name)
        with _as_file(name, data) as path:
            if keys:
                signature = path.with_name(f"{name}{DETACHED}")
                signature.write_bytes(_signature(files, f"{name}{DETACHED}"))
                self.signers.append(keys.verify(signature, path, name).primary)
            if self.keys.minisign:
                self._minisigned(files, name, path)
        return data

    def _minisigned(self, files: ReleaseFiles, name: str, path: Path) -> None:
        """Verify a signature by one of the trusted keys of minisign."""
        signature = path.with_name(f"{name}{MINISIGNED}")
        signature.write_bytes(_signature(files, f"{name}{MINISIGNED}"))
        problems = []
        for key in self.keys.minisign:
            try:
                verify_minisign(key, signature, path, name)
            except StagewrightError as error:
                problems.append(error)
            else:
                self.signers.append(key)
                return
        raise min(problems, key=lambda error: error.reason is Reason.UNKNOWN_SIGNER)

    def _version(self, keys: Keyring | None, folder: str, pointer: Pointer | None) -> VerifiedRelease:
        files = self.files.below(folder)
        data = self._verify_list(keys, files, SUMS)
        if pointer and hashlib.sha256(data).hexdigest() != pointer.sums:
            what = f"{folder}/{SUMS}: not the list that {pointer_name(pointer.release.partition('/')[2])} names"
            raise StagewrightError(Reason.DIGEST_MISMATCH, what, hint="try another mirror")
        listed = self._verify_list(keys, files, DIGESTS)
        sums = read_sums(data.decode("utf-8", errors="replace"))
        description, own_size = _description(files, sums)
        _check_name(description, folder, pointer)
        if self.release not in ("", description.identity):
            what = f"{folder}: holds release {description.identity!r}, not {self.release!r}"
            raise StagewrightError(Reason.WRONG_NAME, what, hint="report this server, or name another --release")
        sizes = {**description.files, DIGESTS: len(listed), DESCRIPTION: own_size}
        problems = list(_check_files(files, sums, sizes, listed, signed=[*LISTS, *description.feed_lists]))
        if problems:
            raise ProblemsError(problems)
        size = sum(description.files.values())
        complete = files.names() is not None
        version, date = description.version, description.date
        origin = verify_provenance(files, description, sums)
        count = len(description.files)
        return VerifiedRelease(description.identity, version, date, count, size, listed=complete, origin=origin)


@contextlib.contextmanager
def _as_file(name: str, data: bytes) -> Iterator[Path]:
    with temporary_folder("verify") as folder:
        path = folder / name
        path.write_bytes(data)
        yield path


def _signature(files: ReleaseFiles, name: str) -> bytes:
    try:
        return read_small(files, name, SMALL)
    except StagewrightError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
        raise StagewrightError(Reason.NO_SIGNATURE, f"{name}: signature not found ({files.name})") from error


def _plain_text(data: bytes) -> bytes:
    """Return the text of a pointer whose OpenPGP signature, if it has one, is not looked at."""
    if not data.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return data
    _, _, text = data.partition(b"\n\n")
    return text.partition(b"\n-----BEGIN PGP SIGNATURE-----")[0] + b"\n"


def _description(files: ReleaseFiles, sums: dict[str, str]) -> tuple[Description, int]:
    """Return the description of a release, whose digest must be in the list, and its size in bytes."""
    data = read_small(files, DESCRIPTION, TEXT_LIMIT)
    if hashlib.sha256(data).hexdigest() != sums.get(DESCRIPTION):
        raise StagewrightError(Reason.DIGEST_MISMATCH, f"{DESCRIPTION}: content differs from {SUMS}")
    description = Description.parse(data)
    if set(description.files) != set(sums) - {DESCRIPTION, DIGESTS}:
        raise StagewrightError(Reason.BAD_LISTING, f"{DESCRIPTION}: lists other files than {SUMS}")
    return description, len(data)


def _check_name(description: Description, folder: str, pointer: Pointer | None) -> None:
    """Check that a release is the one that its folder and the pointer name."""
    found = f"{description.identity} {description.version}"
    wanted = f"{pointer.release if pointer else description.identity} {pointer.version if pointer else folder}"
    if found != wanted:
        what = f"{folder}: holds another release ({found}, not {wanted})"
        hint = f"call the folder {description.version} if it is yours, or report this server"
        raise StagewrightError(Reason.WRONG_NAME, what, hint=hint)


def _check_files(
    files: ReleaseFiles, sums: dict[str, str], sizes: dict[str, int], listed: bytes, *, signed: Sequence[str]
) -> Iterator[StagewrightError]:
    """Yield the problem of each file that is missing, cut, longer, changed or does not belong to the release.

    ``signed`` are the files that have signatures, which no list names.
    """
    found: list[FileDigests] = []
    failed = False
    for name, digest in sums.items():
        try:
            one = _digests(files, name, sizes.get(name))
        except StagewrightError as error:
            failed = True
            yield error
            continue
        found.append(one)
        if one.digests["sha256"] != digest:
            failed = True
            yield StagewrightError(Reason.DIGEST_MISMATCH, f"{name}: content differs from {SUMS}")
    text = "".join(one.lines(*LISTED) for one in found if one.file != DIGESTS)
    if not failed and text.encode() != listed:
        yield StagewrightError(Reason.DIGEST_MISMATCH, f"{DIGESTS}: differs from the files")
    own = {*LISTS, *(f"{name}{suffix}" for name in signed for suffix in (DETACHED, FEED_SIGNED, MINISIGNED))}
    for name in files.names() or []:
        if name not in sums and name not in own:
            yield StagewrightError(Reason.EXTRA_FILE, f"{name}: does not belong to the release", hint="remove it")


def _digests(files: ReleaseFiles, name: str, size: int | None) -> FileDigests:
    """Return the digests of a file. Raises: NOT_FOUND, or WRONG_LENGTH as soon as it is longer than its size."""
    seen = 0
    with Digester() as digester, contextlib.closing(files.stream(name)) as chunks:
        for chunk in chunks:
            seen += len(chunk)
            if size is not None and seen > size:
                raise StagewrightError(Reason.WRONG_LENGTH, f"{name}: longer than {size} bytes")
            digester.update(chunk)
    if size is not None and seen < size:
        raise StagewrightError(Reason.WRONG_LENGTH, f"{name}: cut after {seen} of {size} bytes")
    return digester.result(name)


def verify_place(place: str, keys: TrustedKeys, seen: SeenReleases | None, release: str = "") -> list[VerifiedRelease]:
    """Verify the releases at a path or address: a pointer, the folder of a version, or a folder with pointers.

    Raises every problem of a release at once, or NOT_FOUND if there is no release.
    """
    place = place if "://" in place else str(Path(place).resolve())
    parent, _, last = place.rstrip("/").rpartition("/")
    with open_files(parent) as files:
        verifier = ReleaseVerifier(files, keys, seen, PAUSE if "://" in place else None, release)
        if re.fullmatch(pointer_name(".+"), last):
            return [verifier.newest(last)]
        inner = files.below(last)
        names = inner.names()
        if names is None or SUMS in names:
            folder = unquote(last)
            return [verifier.linked(folder) if folder == LATEST else verifier.version(folder)]
        pointers = [name for name in names if re.fullmatch(pointer_name(r"[^/]+"), name)]
        if not pointers:
            what = f"{place}: no release found ({pointer_name('NAME')} or {SUMS})"
            raise StagewrightError(Reason.NOT_FOUND, what, hint="name the folder of a version, or its latest-NAME.txt")
        return [ReleaseVerifier(inner, keys, seen, None, release).newest(name) for name in pointers]
