"""Private keys on PKCS#11 tokens, for example smart cards: OpenSSL reaches them through the engine of libp11.

A token is named by a URI (RFC 7512). Programs get the PIN on standard input. It is in no file, argument list or log.
A token locks itself after some wrong PINs, so a PIN that the token has refused is not tried again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.root.sandbox import host_program
from stagewright.run import Result, run

SCHEME = "pkcs11:"
ENGINE = "pkcs11"
DEFAULT_PIN_VARIABLE = "STAGEWRIGHT_TOKEN_PIN"
ENGINE_REMEDY = "apt install libengine-pkcs11-openssl, or emerge dev-libs/libp11"

_OF_TOKENS = frozenset({"token", "serial", "manufacturer", "model"})
_OF_KEYS = frozenset({"object", "id"})
_VALUE = lazy_pattern(r"(?:[A-Za-z0-9_.~:\[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})+", re.ASCII)
_QUERY = ("module-path", "pin-source")

_PIN_REFUSED = "PIN (incorrect|invalid|locked|len|has)"
_LIST = "pkcs11-tool --module {module}"
_FAILURES = (
    (
        "Invalid engine|could not load the shared library",
        Reason.MISSING_TOOL,
        "OpenSSL has no engine for PKCS#11",
        ENGINE_REMEDY,
    ),
    (
        "Unable to load (PKCS#11 )?module",
        Reason.HOST_FEATURE,
        "PKCS#11 module cannot be loaded ({module})",
        "set `module` to the shared library of the token's vendor",
    ),
    ("PIN locked", Reason.NO_KEYS, "the PIN is locked ({token})", "unlock it with the program of the token's vendor"),
    (_PIN_REFUSED, Reason.INVALID_VALUE, "wrong PIN ({token})", "{pin}"),
    (
        "Multiple matching (slots|tokens)",
        Reason.NO_KEYS,
        "several tokens match ({token})",
        f"add serial= to the URI; {_LIST} --list-token-slots shows it",
    ),
    (
        "No matching initialized token|No tokens found",
        Reason.NO_KEYS,
        "token not found ({token})",
        f"insert it, or correct the URI; {_LIST} --list-token-slots shows all",
    ),
    (
        "key was not found|object not found",
        Reason.NO_KEYS,
        "key not found on the token ({key})",
        f"correct the object or id of the URI; {_LIST} --login --list-objects shows all",
    ),
)
"""Pattern in the output of OpenSSL with libp11, reason, message and hint of known failures; the first one applies."""

_refused: set[tuple[Path, str, bytes]] = set()
"""Module, token and PIN of each login that a token has refused in this process."""


class TokenUriError(ValueError):
    """The error for a URI that does not name a key on a token, with a hint. Neither has the text of the URI."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class TokenUri:
    """The parts of a URI: attributes that select token and key, and the query, both by name.

    Values of ``attributes`` are percent-encoded, those of ``query`` are not.
    """

    attributes: Mapping[str, str]
    query: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Return the parts of a URI. Raises TokenUriError if it names no key, has a PIN, or is not supported."""
        path, _, query = text[len(SCHEME) :].partition("?")
        attributes, options = _pairs(path, ";"), _pairs(query, "&")
        if "pin-value" in {**attributes, **options}:
            raise TokenUriError("a PIN must not be in the project", "remove `pin-value`, and set `pin_variable`")
        for name in attributes:
            if name not in {*_OF_TOKENS, *_OF_KEYS, "type"}:
                raise TokenUriError(f"unsupported attribute of a token ({name})", "use token, serial, object and id")
        for name in options:
            if name not in _QUERY:
                raise TokenUriError(f"unsupported query of a token ({name})", f"use {' and '.join(_QUERY)}")
        if not _OF_TOKENS & attributes.keys() or not _OF_KEYS & attributes.keys():
            what = "a token and a key are needed"
            raise TokenUriError(what, "write it like pkcs11:token=NAME;object=LABEL")
        if attributes.get("type", "private") != "private":
            raise TokenUriError("not a private key", "remove `type`")
        found = cls(attributes, {name: unquote(value) for name, value in options.items()})
        for name, value in found.query.items():
            if not value.removeprefix("file:").startswith("/"):
                raise TokenUriError(f"{name}: not an absolute path", f"write {name}=/PATH")
        return found

    @property
    def key(self) -> str:
        """The URI of the key, without a query."""
        return self._uri({**self.attributes, "type": "private"})

    @property
    def token(self) -> str:
        """The URI of the token."""
        return self._uri({name: value for name, value in self.attributes.items() if name in _OF_TOKENS})

    def path(self, name: str) -> Path | None:
        """Return a path of the query; None if the URI does not have it."""
        return Path(self.query[name].removeprefix("file:")) if name in self.query else None

    @staticmethod
    def _uri(attributes: Mapping[str, str]) -> str:
        return SCHEME + ";".join(f"{name}={value}" for name, value in sorted(attributes.items()))


def is_token(key: str) -> bool:
    """True if a key is on a token; False if it is a file."""
    return key[: len(SCHEME)].lower() == SCHEME


def _pairs(text: str, separator: str) -> dict[str, str]:
    """Return the attributes of a part of a URI."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, _, value = part.partition("=")
        if name in found or not re.fullmatch(r"[a-z-]+", name) or not _VALUE.fullmatch(value.replace("/", "")):
            raise TokenUriError("not a PKCS#11 URI", "write it like pkcs11:token=NAME;object=LABEL")
        found[name] = value
    return found


@dataclass(frozen=True)
class TokenKey:
    """A private key on a token. ``setting`` is its place in the project, for messages.

    ``variables`` are those of the environment that the module reads. ``pin_variable`` has the PIN if the URI has no
    ``pin-source``.
    """

    setting: str
    uri: TokenUri
    module: Path
    pin_variable: str
    variables: Sequence[str] = ()

    @property
    def needed_variables(self) -> list[str]:
        """Names of the environment variables that signing needs."""
        return [*self.variables, *([] if self.uri.path("pin-source") else [self.pin_variable])]

    @property
    def lacks_pin(self) -> bool:
        """True if the PIN must come from the variable, and it is not set."""
        return self.uri.path("pin-source") is None and not os.environ.get(self.pin_variable)

    def verify(self, certificate: Path) -> None:
        """Log in to the token, and check that the key belongs to a certificate.

        Raises: MISSING_FILE, INVALID_VALUE, NO_KEYS, MISSING_TOOL or HOST_FEATURE, each with what to do.
        """
        if not self.module.is_file():
            what, hint = f"{self.setting}: PKCS#11 module not found ({self.module})", "install it, or correct `module`"
            raise StagewrightError(Reason.MISSING_FILE, what, hint=hint)
        words = ["openssl", "pkey", *self.of_openssl("-in", "-inform"), "-pubout"]
        found = self._run(words)
        public = run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=False)
        if public.code:
            what = f"{certificate.name}: not a certificate in PEM format"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="openssl x509 -in FILE -out NEW writes one")
        if found.stdout.strip() != public.stdout.strip():
            what = f"{self.setting}: the key on the token does not belong to the certificate {certificate.name}"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="correct the object or id of the URI")

    def sign(self, command: Sequence[str], certificate: Path, output: Path, log: IO[str]) -> None:
        """Run a program that signs with the key, in a sandbox where it can change the folder ``output`` only."""
        result = self._run(command, reads=[certificate], writes=[output])
        log.write(result.stdout + result.stderr)

    def of_osslsigncode(self) -> list[str]:
        """Return the arguments of osslsigncode(1) for the key."""
        return ["-pkcs11module", str(self.module), "-key", self.uri.key, "-readpass", "-"]

    def of_openssl(self, key: str, form: str) -> list[str]:
        """Return the arguments of openssl(1) for the key, given the names of the options for a key and its form."""
        return ["-engine", ENGINE, form, "engine", key, self.uri.key, "-passin", "stdin"]

    def _run(self, command: Sequence[str], *, reads: Sequence[Path] = (), writes: Sequence[Path] = ()) -> Result:
        """Run a program that uses the key, in a sandbox if it writes files. Raises the errors of :meth:`verify`."""
        pin = self._pin()
        login = (self.module, self.uri.token, pin)
        if login in _refused:
            raise self._error(Reason.INVALID_VALUE, "the token has refused this PIN", self._pin_hint())
        env = {name: os.environ[name] for name in self.variables if name in os.environ}
        env["PKCS11_MODULE_PATH"] = str(self.module)
        if writes:
            with host_program(command, reads=reads, writes=writes, own_ids=True, token=True) as (words, descriptors):
                result = run(words, env=env, stdin=pin + b"\n", check=False, pass_fds=descriptors)
        else:
            result = run(command, env=env, stdin=pin + b"\n", check=False)
        if result.code:
            if re.search(_PIN_REFUSED, result.stderr):
                _refused.add(login)
            raise self._explained(result.stderr)
        return result

    def _pin(self) -> bytes:
        """Return the PIN. Raises ``MISSING_FILE`` or ``INVALID_VALUE`` if there is none."""
        if source := self.uri.path("pin-source"):
            try:
                if pin := source.read_bytes().partition(b"\n")[0]:
                    return pin
                why = "empty"
            except OSError as error:
                why = error.strerror or ""
            what = f"pin-source: no PIN ({source}: {why})"
            raise self._error(Reason.MISSING_FILE, what, "write the PIN into the first line of this file")
        if self.lacks_pin:
            what = f"no PIN (the variable {self.pin_variable} is not set)"
            hint = f"read -rs {self.pin_variable}; export {self.pin_variable}; on a terminal, Stagewright asks for it"
            raise self._error(Reason.INVALID_VALUE, what, hint)
        return os.environ[self.pin_variable].encode()

    def _pin_hint(self) -> str:
        source = self.uri.path("pin-source")
        where = f"the PIN in {source}" if source else f"the PIN in {self.pin_variable}, or the one you typed"
        return f"correct {where}: it was tried once, and a token locks itself after some wrong ones"

    def _explained(self, output: str) -> StagewrightError:
        """Return the error for the output of a program that failed."""
        facts = {"token": self.uri.token, "key": self.uri.key, "module": str(self.module), "pin": self._pin_hint()}
        for pattern, reason, what, hint in _FAILURES:
            if re.search(pattern, output):
                return self._error(reason, what.format_map(facts), hint.format_map(facts))
        what = f"{self.setting}: the token cannot sign ({self.uri.token})"
        return StagewrightError(Reason.BUILD_FAILED, what, detail=output.strip(), hint="the text above has the reason")

    def _error(self, reason: Reason, what: str, hint: str) -> StagewrightError:
        return StagewrightError(reason, f"{self.setting}: {what}", hint=hint)
