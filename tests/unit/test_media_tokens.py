"""Keys on PKCS#11 tokens: real signatures by SoftHSM2, and an error with a remedy for everything that is missing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError
from soft_token import LABEL, MODULE, NAME, PIN, SPY, URI, VARIABLES, WRONG, Token, lacking, soft_token
from terminals import on_terminal
from test_media_iso import EPOCH, efi_program

from stagewright.engine import doctor
from stagewright.engine.asked_pins import asked_pins
from stagewright.engine.doctor import missing_of
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, NodeFiles, Yields
from stagewright.kinds.common.signing_keys import needed_variables
from stagewright.kinds.media.livecd_stage2 import LiveStage2
from stagewright.media import tokens
from stagewright.media.signing import SecureBoot, SigningKeys, sign
from stagewright.netboot.signatures import ImageSigning, sign_file
from stagewright.store.store import Store

real = pytest.mark.skipif(bool(lacking()), reason=f"NOT TESTED: no {lacking()}")


@dataclass(frozen=True)
class Desk:
    """A token, and files of its key, its certificate and another certificate."""

    token: Token
    folder: Path

    @property
    def files(self) -> dict[str, Path]:
        return {name: self.folder / name for name in ("crt", "other.crt", "no.crt")}

    def keys(self, model: type[SigningKeys] = SecureBoot, **settings: object) -> SigningKeys:
        given = {"key": URI, "certificate": "crt", "module": str(SPY), "module_variables": VARIABLES}
        return model.model_validate({**given, **settings})

    def both(self, model: type[SigningKeys]) -> dict[str, SigningKeys]:
        """Return the key as a file, and on the token without a log of calls, which would have the PIN."""
        file = {"key": str(self.folder / "key"), "module": None}
        return {"file": self.keys(model, **file), "token": self.keys(model, module=str(MODULE))}

    def node(self) -> Node:
        return node(self.files["crt"], module=str(SPY), module_variables=list(VARIABLES))

    def problem(self, **settings: object) -> StagewrightError:
        (found,) = self.keys(**settings).missing(self.files)
        assert found.hint
        assert PIN not in str(found) + found.detail
        assert WRONG not in str(found) + found.detail
        return found


@pytest.fixture(scope="module")
def made() -> Iterator[Desk]:
    with soft_token() as token:
        usage = ["-addext", "keyUsage=digitalSignature", "-addext", "extendedKeyUsage=codeSigning"]
        words = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=test", *usage, "-newkey"]
        for name, kind in {"": ["rsa:2048"], "other.": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}.items():
            out = ["-keyout", token.folder / f"{name}key", "-out", token.folder / f"{name}crt"]
            subprocess.run([*words, *kind, *out], check=True, capture_output=True)
        (token.folder / "no.crt").write_text("no certificate", encoding="utf-8")
        token.add(token.folder / "key")
        yield Desk(token, token.folder)


@pytest.fixture
def desk(made: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    variables = {**made.token.environment, "PKCS11SPY": str(MODULE), "PKCS11SPY_OUTPUT": str(made.token.calls)}
    for name, value in {**variables, tokens.DEFAULT_PIN_VARIABLE: PIN}.items():
        monkeypatch.setenv(name, value)
    tokens._refused.clear()
    made.token.calls.unlink(missing_ok=True)
    return made


@real
@pytest.mark.slow
def test_a_token_signs_efi_programs_as_the_file_of_its_key_does(desk: Desk, tmp_path: Path) -> None:
    log, signed = io.StringIO(), []
    for name, keys in desk.both(SecureBoot).items():
        assert isinstance(keys, SecureBoot)
        program = tmp_path / f"{name}.efi"
        program.write_bytes(efi_program())
        sign(program, keys, desk.files, EPOCH, log)
        signed.append(program.read_bytes())
        subprocess.run(["sbverify", "--cert", desk.folder / "crt", program], check=True, capture_output=True)
    assert signed[0] == signed[1] != efi_program()
    assert PIN not in log.getvalue()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.efi", "token.efi"]


@real
@pytest.mark.slow
def test_a_token_signs_for_ipxe_as_the_file_of_its_key_does(desk: Desk, tmp_path: Path) -> None:
    log, signed, signature = io.StringIO(), [], tmp_path / "kernel.sig"
    (tmp_path / "kernel").write_bytes(b"kernel" * 99)
    words = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-out", "/dev/null"]
    words += ["-CAfile", str(desk.folder / "crt"), "-in", str(signature), "-content", str(tmp_path / "kernel")]
    for keys in desk.both(ImageSigning).values():
        assert isinstance(keys, ImageSigning)
        sign_file(tmp_path / "kernel", keys, desk.files, EPOCH, log)
        signed.append(signature.read_bytes())
        subprocess.run(words, check=True, capture_output=True)
        signature.unlink()
    assert signed[0] == signed[1]
    assert PIN not in log.getvalue()


@real
@pytest.mark.slow
def test_a_wrong_pin_is_tried_once_and_the_token_stays_unlocked(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tokens.DEFAULT_PIN_VARIABLE, WRONG)
    assert "wrong PIN" in desk.problem().message
    assert desk.token.logins() == 1
    other = desk.problem(key=URI.replace("signer", "another"))  # of the same token
    assert (other.reason, desk.token.logins()) == (Reason.INVALID_VALUE, 0)
    monkeypatch.setenv(tokens.DEFAULT_PIN_VARIABLE, PIN)
    assert list(desk.keys().missing(desk.files)) == []
    assert desk.token.logins() == 1
    checks = {check.name: check for check in doctor.examine_nodes(Store(tmp_path / "store"), [desk.node()])}
    assert (checks["boot"].fine, "on pkcs11:token=media%20keys" in checks["boot"].found) == (True, True)


@real
def test_the_pin_can_be_in_a_file(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tokens.DEFAULT_PIN_VARIABLE)
    source = tmp_path / "pin"
    uri = f"{URI}?pin-source=file:{source}&module-path={SPY}"
    assert desk.problem(key=uri, module=None).reason is Reason.MISSING_FILE
    source.write_text(f"{PIN}\n", encoding="utf-8")
    assert list(desk.keys(key=uri, module=None).missing(desk.files)) == []
    assert desk.problem().message.endswith("(the variable STAGEWRIGHT_TOKEN_PIN is not set)")


@real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "reason", "words"),
    [
        ({"key": "pkcs11:token=none;object=signer"}, Reason.NO_KEYS, "token not found (pkcs11:token=none)"),
        ({"key": "pkcs11:token=media%20keys;id=%99"}, Reason.NO_KEYS, "key not found on the token"),
        ({"module": "/nowhere.so"}, Reason.MISSING_FILE, "PKCS#11 module not found (/nowhere.so)"),
        ({"module": "/etc/passwd"}, Reason.HOST_FEATURE, "PKCS#11 module cannot be loaded (/etc/passwd)"),
        ({"certificate": "other.crt"}, Reason.INVALID_VALUE, "does not belong to the certificate other.crt"),
        ({"certificate": "no.crt"}, Reason.INVALID_VALUE, "no.crt: not a certificate"),
        (
            {"module_variables": (*VARIABLES, "OPENSSL_ENGINES")},
            Reason.MISSING_TOOL,
            "OpenSSL has no engine for PKCS#11",
        ),
    ],
)
def test_everything_that_keeps_a_token_from_signing_is_one_error_before_the_build(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], reason: Reason, words: str
) -> None:
    monkeypatch.setenv("OPENSSL_ENGINES", "/nowhere")
    found = desk.problem(**settings)
    assert (found.reason, words in found.message) == (reason, True), found
    assert found.message.startswith("secure_boot.key: ") or "crt" in words
    assert desk.token.logins() <= 1


@real
@pytest.mark.slow
def test_two_tokens_of_one_name_are_refused_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with soft_token() as token:
        token.initialize()
        monkeypatch.setenv("SOFTHSM2_CONF", token.environment["SOFTHSM2_CONF"])
        monkeypatch.setenv("PKCS11SPY", str(MODULE))
        monkeypatch.setenv("PKCS11SPY_OUTPUT", str(token.calls))
        monkeypatch.setenv(tokens.DEFAULT_PIN_VARIABLE, PIN)
        desk = Desk(token, token.folder)
        assert "several tokens match" in desk.problem().message
        assert token.logins() == 0


def node(certificate: Path = Path("/crt"), **settings: object) -> Node:
    keys = {"key": URI, "certificate": "crt", "module": "/nowhere.so", **settings}
    stage = LiveStage2.model_validate({"root": "r", "loaders": ["uki"], "secure_boot": keys})
    return Node("boot", "livecd-stage2", Yields.ARTIFACT, stage, files=NodeFiles(settings={"crt": certificate}))


def test_the_key_of_a_node_covers_the_certificate_and_not_the_token() -> None:
    keys = [
        node(**more).settings.for_key()["secure_boot"]
        for more in ({}, {"pin_variable": "PIN", "module_variables": ["A"]}, {"key": "/keys/db.key", "module": None})
    ]
    assert keys == [{"certificate": "crt"}] * 3


def test_a_worker_gets_the_pin_and_the_variables_of_the_module_only() -> None:
    assert needed_variables(node(module_variables=["SOFTHSM2_CONF"])) == ["SOFTHSM2_CONF", "STAGEWRIGHT_TOKEN_PIN"]
    assert needed_variables(node(pin_variable="MINE")) == ["MINE"]
    assert needed_variables(node(key=f"{URI}?pin-source=/run/pin")) == []
    assert needed_variables(node(key="/keys/db.key", module=None)) == []


def test_the_user_is_asked_once_for_a_missing_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tokens.DEFAULT_PIN_VARIABLE, raising=False)
    texts: list[str] = []

    def ask(text: str) -> str:
        texts.append(text)
        return PIN

    with asked_pins([node(), node(key=URI.replace("signer", "another"))], ask):
        assert os.environ[tokens.DEFAULT_PIN_VARIABLE] == PIN
    assert tokens.DEFAULT_PIN_VARIABLE not in os.environ
    assert texts == ["PIN of pkcs11:token=media%20keys (secure_boot.key): "]
    with asked_pins([node()], None):
        assert tokens.DEFAULT_PIN_VARIABLE not in os.environ
    assert [problem.reason for problem in missing_of(node())] == [Reason.MISSING_FILE]


@pytest.mark.slow
def test_the_terminal_does_not_show_the_pin_that_is_typed() -> None:
    program = "from stagewright.cli.common import asker; print('length', len(asker(())('PIN: ')))"
    with on_terminal([sys.executable, "-c", program]) as user:
        user.wait_for(b"PIN: ")
        user.type(f"{PIN}\n".encode())
        user.wait_for(f"length {len(PIN)}".encode())
    assert PIN.encode() not in user.said


@pytest.mark.parametrize(
    "settings",
    [
        {"key": f"pkcs11:token=t;object=o?pin-value={PIN}"},
        {"key": f"PKCS11:token=t;object=o;pin-value={PIN}"},
        {"key": f"pkcs11:token=t;object=o;{PIN}"},
        {"key": f"pkcs11:token=t;object=o?pin-source={PIN}"},
        {"key": f"pkcs11:token=t;object=o?pin-source=|echo {PIN}"},
        {"key": "pkcs11:token=t;object=o;slot-id=1"},
        {"key": "pkcs11:token=t;object=o;object=p"},
        {"key": "pkcs11:token=t;object=o;type=cert"},
        {"key": "pkcs11:token=t"},
        {"key": "pkcs11:object=o"},
        {"key": "pkcs11:"},
        {"key": "keys/db.key"},
        {"key": URI, "module": None},
        {"key": URI, "module": "softhsm.so"},
        {"key": URI, "pin_variable": "A=B"},
    ],
    ids=str,
)
def test_settings_that_name_no_key_are_refused_without_their_text(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        SecureBoot.model_validate({"certificate": "crt", "module": "/m.so", **settings})
    (problem,) = caught.value.errors()
    assert problem["ctx"]["hint"]
    assert PIN not in problem["msg"] + problem["ctx"]["hint"]


def test_parts_of_a_uri() -> None:
    assert (NAME.replace(" ", "%20") in URI, LABEL in URI) == (True, True)
    uri = tokens.TokenUri.parse(
        "pkcs11:token=a%3Bb;serial=1/2;id=%01%02;type=private?module-path=/a%20b.so&pin-source=/p"
    )
    assert uri.key == "pkcs11:id=%01%02;serial=1/2;token=a%3Bb;type=private"
    assert (uri.token, uri.path("module-path")) == ("pkcs11:serial=1/2;token=a%3Bb", Path("/a b.so"))
