"""Signatures of network sets: made by the real openssl, named in the script, and refused for wrong certificates."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind
from stagewright.netboot.methods import CommandLine, Method
from stagewright.netboot.signatures import ImageSigning, check_certificate, sign_file, verifying
from stagewright.netboot.writer import NetSet, NetSetParts, write_set

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT TESTED: no openssl")
EPOCH = 1_700_000_000
USAGE, CODE = ("-addext", "keyUsage=digitalSignature"), ("-addext", "extendedKeyUsage=codeSigning")
SIGNED = ("boot/gentoo", "boot/gentoo.igz", "combined.igz", "boot.ipxe")


def certificate(folder: Path, *more: str, key: str = "rsa:2048") -> ImageSigning:
    words = ["openssl", "req", "-x509", "-newkey", key, "-nodes", "-subj", "/CN=test", "-days", "2", *more]
    subprocess.run([*words, "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    return ImageSigning(key=str(folder / "key"), certificate="crt")


@pytest.fixture
def keys(tmp_path: Path) -> ImageSigning:
    return certificate(tmp_path, *USAGE, *CODE)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a set with all methods."""

    def write(name: str, keys: ImageSigning | None, **settings: bool) -> Path:
        parts = [tmp_path / part for part in ("k", "i", "s", "ipxe.efi")]
        for part in parts:
            part.write_bytes(part.name.encode() * 9 + b"imgfetch")
        programs = {"ipxe.efi": parts[3]}
        net_set = NetSet(
            "t", CommandLine(InitramfsKind.DRACUT, ["quiet"]), list(Method), signed=keys is not None, **settings
        )
        folder = tmp_path / name
        folder.mkdir()

        def sign(path: Path) -> None:
            assert keys
            sign_file(path, keys, {"crt": tmp_path / "crt"}, EPOCH, io.StringIO())

        report = write_set(NetSetParts(*parts[:3], programs=programs), net_set, folder, EPOCH, sign if keys else None)
        assert bool([line for line in report.limits if "cannot verify signatures" in line]) == (keys is not None)
        return folder

    return write


def test_every_file_that_ipxe_starts_is_signed_in_the_same_way_twice(
    tmp_path: Path, keys: ImageSigning, written: Callable[..., Path]
) -> None:
    first, second = written("a", keys), written("b", keys)
    assert {path.relative_to(first).as_posix() for path in first.rglob("*.sig")} == {f"{name}.sig" for name in SIGNED}
    words = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-CAfile", tmp_path / "crt", "-purpose", "any"]
    for name in SIGNED:
        signature = f"{name}.sig"
        assert (first / signature).read_bytes() == (second / signature).read_bytes()
        command = [*words, "-in", first / signature, "-content", first / name, "-out", "/dev/null"]
        subprocess.run(command, check=True, capture_output=True)
        (tmp_path / "changed").write_bytes((first / name).read_bytes() + b"x")
        command = [*words, "-in", first / signature, "-content", tmp_path / "changed", "-out", "/dev/null"]
        assert subprocess.run(command, check=False, capture_output=True).returncode != 0
        assert signature in (first / "DIGESTS").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("combined", [True, False])
def test_the_script_starts_nothing_that_it_has_not_verified(
    keys: ImageSigning, written: Callable[..., Path], combined: bool
) -> None:
    text = (written("set", keys, combined=combined) / "boot.ipxe").read_text(encoding="utf-8")
    assert text.startswith("#!ipxe\n")
    assert text.index("imgtrust --permanent") < text.index("kernel boot/gentoo")
    for part in re.findall(r"^kernel .*\n(?:.+\n)*?goto start$", text, re.MULTILINE):
        loaded = [line.split()[1] for line in part.splitlines() if line.startswith(("kernel ", "initrd "))]
        verified = [line.split()[5] for line in part.splitlines() if " imgverify " in line]
        assert verified == [f"{name}.sig" for name in loaded if name != "image.squashfs"], part
    assert text.count(" imgverify ") >= 2 * len(Method)
    assert text.count("\n:untrusted\n") == text.count("\n:cannot_verify\n") == 1


def test_a_set_without_keys_asks_for_no_signatures(written: Callable[..., Path]) -> None:
    folder = written("set", None)
    assert not list(folder.rglob("*.sig"))
    assert "imgverify" not in (folder / "boot.ipxe").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "key", "missing"),
    [
        (USAGE, "rsa:2048", "Code Signing"),
        (CODE, "rsa:2048", "Digital Signature"),
        ((*USAGE, *CODE, "-pkeyopt", "ec_paramgen_curve:P-256"), "ec", "rsaEncryption"),
    ],
)
def test_certificates_that_ipxe_does_not_accept_are_refused(
    tmp_path: Path, more: tuple[str, ...], key: str, missing: str
) -> None:
    certificate(tmp_path, *more, key=key)
    with pytest.raises(StagewrightError) as caught:
        check_certificate(tmp_path / "crt")
    assert caught.value.reason is Reason.BUILD_FAILED
    assert missing in caught.value.message


def test_another_file_than_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "crt").write_bytes(b"x")
    with pytest.raises(StagewrightError) as caught:
        check_certificate(tmp_path / "crt")
    assert "PEM" in caught.value.message


def test_a_key_of_another_certificate_is_reported(tmp_path: Path, keys: ImageSigning) -> None:
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StagewrightError) as caught:
        sign_file(tmp_path / "file", other, {"crt": tmp_path / "crt"}, EPOCH, io.StringIO())
    assert caught.value.reason is Reason.BUILD_FAILED
    assert list(ImageSigning(key="/nowhere/key", certificate="crt").missing({}))


@pytest.mark.parametrize(("data", "found"), [(b"imgfetch", False), (b"imgfetch imgverify", True), (b"packed", None)])
def test_an_ipxe_that_can_verify_is_recognized(tmp_path: Path, data: bytes, found: bool | None) -> None:
    (tmp_path / "ipxe.efi").write_bytes(data)
    assert verifying(tmp_path / "ipxe.efi") is found
