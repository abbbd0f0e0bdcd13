"""Signatures: only good ones by allowed keys are accepted; each other case has its own reason."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.signing import Signer

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import Signature, checked_keys, first_problem, keyring

TEXT = b"one\n- two with a dash\nthree\n"
Signers = dict[str, Signer]
Texts = dict[str, bytes]

LONG_AGO = "20200101T000000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openpgp")


@pytest.fixture(scope="module")
def signers(folder: Path) -> Iterator[Signers]:
    """Return good, expired, revoked and other keys; their public keys are in one file."""
    made = {
        "good": Signer.make(folder / "good", at="20240101T000000"),
        "other": Signer.make(folder / "other", "Other <other@example.org>"),
        "expired": Signer.make(folder / "expired", "Old <old@example.org>", expires="1y", at=LONG_AGO),
        "revoked": Signer.make(folder / "revoked", "Lost <lost@example.org>"),
    }
    yield made
    for signer in made.values():
        signer.close()


@pytest.fixture(scope="module")
def signed(folder: Path, signers: Signers) -> Texts:
    """Return the text, clear-signed in many ways."""
    good = signers["good"]
    texts = {
        "good": good.clearsign(TEXT),
        "other": signers["other"].clearsign(TEXT),
        "expired": signers["expired"].clearsign(TEXT, at="20200201T000000"),
        "revoked": signers["revoked"].clearsign(TEXT),
        "weak": good.clearsign(TEXT, "--digest-algo", "SHA1"),
        "short": good.clearsign(TEXT, "--default-sig-expire", "1d", at="20250101T000000"),
    }
    signers["revoked"].revoke()
    (folder / "all.asc").write_bytes(b"".join(one.public(folder / "one.asc").read_bytes() for one in signers.values()))
    good_text = texts["good"]
    return {
        **texts,
        "changed": good_text.replace(b"three", b"throe"),
        "before": b"zero\n" + good_text,
        "after": good_text + b"four\n",
        "twice": good_text + good_text,
        "cut": good_text[: good_text.index(b"-----END")],
        "plain": TEXT,
        "empty": b"",
        "broken armor": good_text.replace(
            b"-----BEGIN PGP SIGNATURE-----\n\n", b"-----BEGIN PGP SIGNATURE-----\n\nAAAA"
        ),
    }


REASONS = {
    "other": Reason.UNKNOWN_SIGNER,
    "expired": Reason.EXPIRED_KEY,
    "revoked": Reason.REVOKED_KEY,
    "short": Reason.EXPIRED_SIGNATURE,
    "weak": Reason.WEAK_DIGEST,
    "changed": Reason.BAD_SIGNATURE,
    "before": Reason.UNSIGNED_TEXT,
    "after": Reason.UNSIGNED_TEXT,
    "twice": Reason.UNSIGNED_TEXT,
    "cut": Reason.BAD_SIGNATURE,
    "plain": Reason.NO_SIGNATURE,
    "empty": Reason.NO_SIGNATURE,
    "broken armor": Reason.NO_SIGNATURE,
}


@pytest.mark.parametrize("case", REASONS)
def test_a_bad_clearsigned_text_is_rejected_with_its_reason(
    case: str, folder: Path, signers: Signers, signed: Texts
) -> None:
    path = folder / "text"
    path.write_bytes(signed[case])
    allowed = [signers[name].fingerprint for name in ("good", "expired", "revoked")]
    with keyring([folder / "all.asc"], allowed) as keys, pytest.raises(StagewrightError) as caught:
        keys.clearsigned(path)
    assert caught.value.reason is REASONS[case], caught.value
    assert caught.value.hint


def test_a_good_clearsigned_text_is_returned(folder: Path, signers: Signers, signed: Texts) -> None:
    path = folder / "text"
    path.write_bytes(signed["good"] + b"\n")
    with keyring([folder / "all.asc"], [signers["good"].fingerprint.lower()]) as keys:
        found = keys.clearsigned(path)
    assert found.text == TEXT
    assert found.signature.primary == signers["good"].fingerprint
    assert not keys.home.folder.exists()


def test_the_path_of_a_work_folder_may_be_longer_than_that_of_a_socket(
    folder: Path, signers: Signers, signed: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / ("x" * 120)
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    path = folder / "text"
    path.write_bytes(signed["good"])
    with keyring([folder / "all.asc"], [signers["good"].fingerprint]) as keys:
        assert keys.home.folder.parent == work
        assert keys.clearsigned(path).text == TEXT
        keys.export(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_size > 0
    assert list(work.iterdir()) == []


def test_without_fingerprints_all_keys_of_a_file_are_allowed(folder: Path, signed: Texts) -> None:
    path = folder / "text"
    path.write_bytes(signed["other"])
    with keyring([folder / "all.asc"]) as keys:
        assert keys.clearsigned(path).text == TEXT


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("good", None),
        ("other", Reason.UNKNOWN_SIGNER),
        ("changed", Reason.BAD_SIGNATURE),
        ("none", Reason.NO_SIGNATURE),
    ],
)
def test_a_detached_signature(folder: Path, signers: Signers, signed: Texts, case: str, reason: Reason) -> None:
    file, signature = folder / "file", folder / "file.asc"
    file.write_bytes(TEXT if case != "changed" else TEXT + b"!")
    signer = signers["other" if case == "other" else "good"]
    signature.write_bytes(signer.detached(TEXT) if case != "none" else b"nothing\n")
    with keyring([folder / "all.asc"], [signers["good"].fingerprint]) as keys:
        if reason is None:
            assert isinstance(keys.verify(signature, file), Signature)
            return
        with pytest.raises(StagewrightError) as caught:
            keys.verify(signature, file)
    assert caught.value.reason is reason


def test_a_signed_text_is_rejected_as_a_detached_signature(folder: Path, signers: Signers, signed: Texts) -> None:
    file, signature = folder / "file", folder / "file.asc"
    file.write_bytes(b"anything")
    signature.write_bytes(signed["good"])
    with (
        keyring([folder / "all.asc"], [signers["good"].fingerprint]) as keys,
        pytest.raises(StagewrightError) as caught,
    ):
        keys.verify(signature, file)
    assert caught.value.reason in (Reason.BAD_SIGNATURE, Reason.NO_SIGNATURE)


def test_a_missing_key_is_reported(folder: Path, signers: Signers, signed: Texts) -> None:
    with pytest.raises(StagewrightError) as caught, keyring([folder / "all.asc"], ["F" * 40]):
        pass
    assert caught.value.reason is Reason.NO_KEYS
    secret, nothing = folder / "secret", folder / "nothing"
    secret.write_bytes(signers["good"].gpg("--armor", "--export-secret-keys"))
    nothing.write_bytes(b"no keys at all")
    for file in (secret, nothing):
        with pytest.raises(StagewrightError) as caught, keyring([file]):
            pass
        assert caught.value.reason is Reason.INVALID_VALUE


def test_signatures_of_commits(folder: Path, signers: Signers, signed: Texts) -> None:
    repository = folder / "repository"

    def git(*words: str, home: Path = signers["good"].home) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "gpg.program=gpg"]
        command = ["git", *who, "-C", str(repository), *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "GNUPGHOME": str(home)}
        ).stdout

    repository.mkdir()
    git("init", "-q")
    commits = {}
    for name, sign in (("good", "good"), ("other", "other"), ("unsigned", "")):
        options = [f"-S{signers[sign].fingerprint}"] if sign else ["--no-gpg-sign"]
        git("commit", "-q", "--allow-empty", "-m", name, *options, home=signers[sign or "good"].home)
        commits[name] = git("rev-parse", "HEAD").strip()
    with keyring([folder / "all.asc"], [signers["good"].fingerprint]) as keys:
        assert keys.verify_commit(repository, commits["good"]).primary == signers["good"].fingerprint
        for name, reason in (("other", Reason.UNKNOWN_SIGNER), ("unsigned", Reason.NO_SIGNATURE)):
            with pytest.raises(StagewrightError) as caught:
                keys.verify_commit(repository, commits[name])
            assert caught.value.reason is reason


def test_the_fingerprints_of_primary_keys() -> None:
    listing = (
        "pub:-:255:22:A::\nfpr:::::::::ONE:\nuid:x\nsub:-:255:18:B::\nfpr:::::::::SUB:\npub:-::\nfpr:::::::::TWO:\n"
    )
    assert checked_keys(listing, "file") == ["ONE", "TWO"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("!!! [GNUPG:] ERRSIG 12AB 22 10 00 1795276519 9 -\n[GNUPG:] NO_PUBKEY 12AB", Reason.UNKNOWN_SIGNER),
        ("[GNUPG:] REVKEYSIG 12AB Name\n[GNUPG:] VALIDSIG", Reason.REVOKED_KEY),
        ("[GNUPG:] NODATA 4", Reason.NO_SIGNATURE),
        ("gpg: whatever", Reason.BAD_SIGNATURE),
    ],
)
def test_status_lines_are_found_in_a_log(said: str, reason: Reason) -> None:
    assert first_problem(said)[0] is reason


@pytest.mark.parametrize("name", ["expired", "revoked"])
def test_a_file_may_hold_a_key_alone_that_is_no_longer_valid(signers: Signers, tmp_path: Path, name: str) -> None:
    signer = signers[name]
    with keyring([signer.public(tmp_path / "key.asc")]) as keys:
        assert keys.allowed == {signer.fingerprint}
