"""Signatures for UEFI Secure Boot with the project's keys (UEFI specification 32.2).

osslsigncode(1) takes the time of the signature as an argument. sbsign(1) always writes the current time, so its output
is not reproducible (measured).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, ClassVar

from stagewright.errors import Reason, StagewrightError
from stagewright.project.fields import FilePath, SecretPath, Section
from stagewright.root.sandbox import run_host_program


class SigningKeys(Section):
    """A private key and its certificate, as PEM files. ``setting`` is the name of the table in the project."""

    setting: ClassVar[str]

    key: SecretPath
    """The private key, without a password, outside the project."""
    certificate: FilePath

    @property
    def secret(self) -> Path:
        """Path of the private key."""
        return Path(self.key).expanduser()

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error if the private key does not exist. A build may run for hours before it uses the key."""
        if not self.secret.is_file():
            hint = "copy the key there, or build on the machine that has it"
            yield StagewrightError(Reason.MISSING_FILE, f"{self.setting}.key: file not found: {self.secret}", hint=hint)


class SecureBoot(SigningKeys):
    """The key and the certificate for signatures, as PEM files."""

    setting = "secure_boot"

    certificate: FilePath
    """The certificate, which must be enrolled in the firmware of the machines."""


def sign(program: Path, keys: SecureBoot, files: Mapping[str, Path], epoch: int, log: IO[str]) -> None:
    """Sign an EFI program or kernel; the signature replaces any older one. Raises ``BUILD_FAILED`` if that fails.

    ``files`` are the project's files by the path in the settings.
    """
    signed = program.with_name(f"{program.name}.signed")
    key, certificate = keys.secret.absolute(), files[keys.certificate].absolute()
    words = ["osslsigncode", "sign", "-certs", str(certificate), "-key", str(key), "-h", "sha256", "-time", str(epoch)]
    try:
        words += ["-in", str(program), "-out", str(signed)]
        run_host_program(words, reads=[key, certificate], writes=[program.parent], own_ids=True, log=log)
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{program.name} could not be signed with {keys.key}",
            detail=error.detail,
            hint="both must be PEM files; remove a password with: openssl pkey -in KEY -out NEW",
        ) from error
    signed.replace(program)
    os.utime(program, (epoch, epoch))
