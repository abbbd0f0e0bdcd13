"""Signatures for UEFI Secure Boot with the project's keys (UEFI specification 32.2).

osslsigncode(1) takes the time of the signature as an argument. sbsign(1) always writes the current time, so its output
is not reproducible (measured).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, ClassVar, Self

from pydantic import AfterValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.media.tokens import DEFAULT_PIN_VARIABLE, TokenKey, TokenUri, TokenUriError, is_token
from stagewright.project.fields import ByValue, FilePath, Matching, Section
from stagewright.root.sandbox import run_host_program

PATTERN = r"^(?:(?:/|~/).+|pkcs11:.+)$"


def check_key(value: str) -> str:
    """Return a valid path or URI of a private key. Raises PydanticCustomError for others, without a PIN in its text."""
    if is_token(value):
        try:
            TokenUri.parse(value)
        except TokenUriError as error:
            raise PydanticCustomError(
                "token", "`key`: {problem}", {"problem": str(error), "hint": error.hint}
            ) from None
    elif not value.startswith(("/", "~/")) or len(value) < len("/x"):
        facts = {"value": repr(value), "hint": "write an absolute path outside of the project, or pkcs11:..."}
        raise PydanticCustomError("matching", "invalid value {value}", facts)
    return value


SecretKey = Annotated[str, AfterValidator(check_key), WithJsonSchema({"type": "string", "pattern": PATTERN})]
"""Path of the file of a private key, or the URI of one on a token. Keys of nodes do not contain it."""

Module = Annotated[str, Matching("/.+", "the absolute path of a shared library")]
Variable = Annotated[str, Matching("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]


class SigningKeys(Section):
    """A private key, in a PEM file or on a token, and its certificate, a PEM file.

    ``setting`` is the name of the table in the project.
    """

    setting: ClassVar[str]

    key: Annotated[SecretKey, NotInKey()]
    """The private key: a file without a password outside the project, or `pkcs11:token=NAME;object=LABEL`."""
    certificate: FilePath
    module: Annotated[Module | None, NotInKey()] = None
    """The PKCS#11 module of the token, an absolute path. The default is the `module-path` of the URI."""
    module_variables: Annotated[tuple[Variable, ...], NotInKey(), ByValue()] = ()
    """Environment variables that the module reads, such as `SOFTHSM2_CONF`."""
    pin_variable: Annotated[Variable, NotInKey()] = DEFAULT_PIN_VARIABLE
    """The environment variable with the token's PIN, if the URI has no `pin-source`. If it is not set, the terminal is
    asked."""

    @model_validator(mode="after")
    def _has_module(self) -> Self:
        if is_token(self.key) and self.token is None:
            facts = {"hint": "set `module`, or add ?module-path=/PATH to the URI"}
            raise PydanticCustomError("token", "`key`: the PKCS#11 module of the token is missing", facts)
        return self

    @property
    def secret(self) -> Path:
        """Path of the file of the private key."""
        return Path(self.key).expanduser()

    @property
    def token(self) -> TokenKey | None:
        """The private key, if it is on a token."""
        if not is_token(self.key):
            return None
        uri = TokenUri.parse(self.key)
        module = Path(self.module) if self.module else uri.path("module-path")
        if module is None:
            return None
        return TokenKey(f"{self.setting}.key", uri, module, self.pin_variable, self.module_variables)

    def needed_variables(self) -> list[str]:
        """Return the names of the environment variables that signing needs."""
        return self.token.needed_variables if self.token else []

    def missing(self, files: Mapping[str, Path]) -> Iterator[StagewrightError]:
        """Yield an error if the private key cannot be used. A build may run for hours before it signs.

        ``files`` are the project's files by the path in the settings.
        """
        if token := self.token:
            try:
                token.verify(files[self.certificate])
            except StagewrightError as error:
                yield error
        elif not self.secret.is_file():
            hint = "copy the key there, or build on the machine that has it"
            yield StagewrightError(Reason.MISSING_FILE, f"{self.setting}.key: file not found: {self.secret}", hint=hint)


class SecureBoot(SigningKeys):
    """The key and the certificate for signatures."""

    setting = "secure_boot"

    certificate: FilePath
    """The certificate, which must be enrolled in the firmware of the machines."""


def sign(program: Path, keys: SecureBoot, files: Mapping[str, Path], epoch: int, log: IO[str]) -> None:
    """Sign an EFI program or kernel; the signature replaces any older one. Raises ``BUILD_FAILED`` if that fails.

    ``files`` are the project's files by the path in the settings.
    """
    signed, certificate = program.with_name(f"{program.name}.signed"), files[keys.certificate].absolute()
    words = ["osslsigncode", "sign", "-certs", str(certificate), "-h", "sha256", "-time", str(epoch)]
    ends = ["-in", str(program), "-out", str(signed)]
    if token := keys.token:
        token.sign([*words, *token.of_osslsigncode(), *ends], certificate, program.parent, log)
    else:
        _sign_with_file([*words, "-key", str(keys.secret.absolute()), *ends], program, keys, certificate, log)
    signed.replace(program)
    os.utime(program, (epoch, epoch))


def _sign_with_file(words: list[str], program: Path, keys: SecureBoot, certificate: Path, log: IO[str]) -> None:
    reads = [keys.secret.absolute(), certificate]
    try:
        run_host_program(words, reads=reads, writes=[program.parent], own_ids=True, log=log)
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"{program.name} could not be signed with {keys.key}",
            detail=error.detail,
            hint="both must be PEM files; remove a password with: openssl pkey -in KEY -out NEW",
        ) from error
