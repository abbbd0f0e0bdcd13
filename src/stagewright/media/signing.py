"""Signatures for UEFI Secure Boot, with keys of one's own (UEFI specification 32.2).

By osslsigncode(1), which takes the time of the signature as an argument; sbsign(1) always writes the present one, so it
gives other bytes each time (measured).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError
from stagewright.project.fields import FilePath, SecretPath, Section
from stagewright.run import run


class SecureBoot(Section):
    """The key and the certificate to sign with, as PEM files."""

    key: SecretPath
    """The private key, without a password; outside of the project."""
    certificate: FilePath
    """Its certificate, which the firmware of the machines must know."""

    @property
    def secret(self) -> Path:
        """The file of the private key."""
        return Path(self.key).expanduser()

    def missing(self) -> Iterator[StagewrightError]:
        """The private key, where it is not there: a build may take hours until it is needed."""
        if not self.secret.is_file():
            hint = "build on a machine that has it"
            yield StagewrightError(Reason.MISSING_FILE, f"secure_boot.key: there is no file {self.secret}", hint=hint)


def sign(program: Path, keys: SecureBoot, files: Mapping[str, Path], epoch: int, log: IO[str]) -> None:
    """Put a signature into an EFI program or kernel, in place of any that it has. Raises ``BUILD_FAILED``."""
    signed = program.with_name(f"{program.name}.signed")
    key, certificate = keys.secret, files[keys.certificate]
    words = ["osslsigncode", "sign", "-certs", str(certificate), "-key", str(key), "-h", "sha256", "-time", str(epoch)]
    try:
        run([*words, "-in", str(program), "-out", str(signed)], log=log)
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{program.name} could not be signed with {keys.key}",
            detail=error.detail,
            hint="both are PEM files; take a password off the key with: openssl pkey -in KEY -out NEW",
        ) from error
    signed.replace(program)
    os.utime(program, (epoch, epoch))
