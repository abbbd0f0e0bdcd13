"""Signatures that iPXE verifies: detached CMS signatures by an RSA key (ipxe.org/crypto, commands imgtrust, imgverify).

They are reproducible: without signed attributes there is no time in them, and RSA signatures have no random number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.media.signing import SecretKey, SigningKeys
from stagewright.project.fields import FilePath
from stagewright.run import run

SUFFIX = ".sig"
_REQUIRED = ("Public Key Algorithm: rsaEncryption", "Digital Signature", "Code Signing")


class ImageSigning(SigningKeys):
    """The key and the certificate for signatures that iPXE verifies."""

    setting = "sign"

    key: Annotated[SecretKey, NotInKey()]
    """The private RSA key: a file without a password outside the project, or `pkcs11:token=NAME;object=LABEL`."""
    certificate: FilePath
    """The certificate, with key usage digitalSignature and extended key usage codeSigning. iPXE must trust it, or the
    one that signed it."""


def check_certificate(certificate: Path) -> None:
    """Raise ``BUILD_FAILED`` if iPXE would not accept signatures by this certificate."""
    done = run(["openssl", "x509", "-in", certificate, "-noout", "-text"], check=False)
    usage = "-addext keyUsage=digitalSignature -addext extendedKeyUsage=codeSigning"
    hint = f"make an RSA certificate: openssl req -x509 -newkey rsa:3072 {usage} ..."
    lacks = [word for word in _REQUIRED if word not in done.stdout]
    if done.code != 0:
        raise StagewrightError(Reason.BUILD_FAILED, f"{certificate.name}: not a certificate in PEM format", hint=hint)
    if lacks:
        message = f"{certificate.name}: iPXE accepts no signatures by it (missing: {', '.join(lacks)})"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint=hint)


def sign_file(path: Path, keys: ImageSigning, files: Mapping[str, Path], epoch: int, log: IO[str]) -> None:
    """Write the signature of a file next to it. ``files`` are the project's files by the path in the settings."""
    target = path.with_name(f"{path.name}{SUFFIX}")
    words = ["openssl", "cms", "-sign", "-binary", "-noattr", "-md", "sha256", "-outform", "DER"]
    certificate = files[keys.certificate].absolute()
    words += ["-signer", str(certificate), "-in", str(path), "-out", str(target)]
    if token := keys.token:
        token.sign([*words, *token.of_openssl("-inkey", "-keyform")], certificate, path.parent, log)
    else:
        _sign_with_file([*words, "-inkey", str(keys.secret)], path, keys, log)
    os.utime(target, (epoch, epoch))


def _sign_with_file(words: list[str], path: Path, keys: ImageSigning, log: IO[str]) -> None:
    try:
        run(words, log=log)
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        message = f"{path.name} could not be signed with {keys.key}"
        hint = "key and certificate must belong together; remove a password with: openssl pkey -in KEY -out NEW"
        raise StagewrightError(Reason.BUILD_FAILED, message, detail=error.detail, hint=hint) from error


def verifying(program: Path) -> bool | None:
    """Return True if a program is an iPXE that can verify signatures, False if it cannot; None if that is unknown.

    The commands of an iPXE for UEFI are strings in its file. iPXE for BIOS is compressed.
    """
    data = program.read_bytes()
    return b"imgverify" in data if b"imgfetch" in data else None
