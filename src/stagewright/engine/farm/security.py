"""Encryption on a farm: TLS with certificates of one authority, for scheduler, workers and users.

A folder of certificates::

    ca.pem          the certificate of the authority, for all machines
    ca.key          its key: only the machine that makes certificates
    scheduler.pem   a certificate with its key, for the scheduler
    worker.pem      the same for all workers
    client.pem      the same for those who build

Dask checks on every connection that the other side has a certificate of the authority. It sends functions by pickle
(https://distributed.dask.org/en/stable/tls.html). So a holder of any of these certificates can run code on all machines
of the farm, as the user of the scheduler and of the workers.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stagewright.engine.farm.extra import required
from stagewright.errors import Reason, StagewrightError

if TYPE_CHECKING:
    from distributed.security import Security

ROLES = ("scheduler", "worker", "client")

DAYS = 825
"""Days for which certificates are valid."""

DEFAULT_FOLDER = "stagewright/farm"
"""The folder of certificates, below ``XDG_CONFIG_HOME``."""


def default_folder() -> Path:
    """Return the folder in which certificates are searched if none is given."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / DEFAULT_FOLDER


def is_encrypted(url: str) -> bool:
    """Return True for the address of a farm with TLS. Raises: USAGE for one that is not permitted.

    Connections without TLS are permitted only to addresses of this computer.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("tls", "tcp") or not parts.hostname:
        hint = "write tls://HOST:8786; tcp://127.0.0.1:8786 is possible on one computer"
        raise StagewrightError(Reason.USAGE, f"{url}: not the address of a farm", hint=hint)
    if parts.scheme == "tls":
        return True
    if not is_loopback(parts.hostname):
        what = f"{url}: refused, because the connection is not encrypted"
        raise StagewrightError(Reason.USAGE, what, hint="use tls://, with certificates of stagewright farm certs")
    return False


def is_loopback(host: str) -> bool:
    """Return True for an address or name of this computer that no other computer reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def security(url: str, folder: Path | None, role: str) -> Security:
    """Return how a role (scheduler, worker, client) connects to a farm. Raises: USAGE, MISSING_FILE."""
    distributed = required("distributed")
    found: Security
    if not is_encrypted(url):
        found = distributed.Security(require_encryption=False)
        return found
    place = folder or default_folder()
    files = [place / "ca.pem", place / f"{role}.pem"]
    for file in files:
        if not file.is_file():
            hint = "stagewright farm certs FOLDER makes them; name the folder by --certs"
            raise StagewrightError(Reason.MISSING_FILE, f"{file}: not found", hint=hint)
    own = {f"tls_{role}_cert": str(files[1])}
    found = distributed.Security(require_encryption=True, tls_ca_file=str(files[0]), **own)
    return found


def make_certificates(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Make an authority, if the folder has none, and a certificate for each role. Return the new files.

    ``names`` are host names and addresses that the certificate of the scheduler has. Files with keys are readable only
    by their owner. Existing certificates are not replaced.
    """
    required("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    key_file, ca_file = folder / "ca.key", folder / "ca.pem"
    if not ca_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(key_file, _private(key))
        _write(ca_file, _certificate("Stagewright farm", key, None, key, ()), mode=0o644)
        made += [key_file, ca_file]
    missing = [role for role in ROLES if not (folder / f"{role}.pem").exists()]
    if missing and not key_file.exists():
        hint = "make the certificates where ca.key is, and copy them"
        raise StagewrightError(Reason.MISSING_FILE, f"{key_file}: not found", hint=hint)
    for role in missing:
        authority = serialization.load_pem_private_key(key_file.read_bytes(), None)
        own = ec.generate_private_key(ec.SECP256R1())
        text = _certificate(f"Stagewright {role}", own, ca_file.read_bytes(), authority, names)
        _write(folder / f"{role}.pem", _private(own) + text)
        made.append(folder / f"{role}.pem")
    return made


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)


def _private(key: object) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _certificate(subject: str, key: object, issuer: bytes | None, signer: object, names: Sequence[str]) -> bytes:
    """Return a certificate in PEM; without an issuer, that of an authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.load_pem_x509_certificate(issuer).subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    )
    if issuer is None:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, True)
    if names and issuer:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), False)
    return bytes(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))


def _name(text: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
