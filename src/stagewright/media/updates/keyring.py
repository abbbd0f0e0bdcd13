"""Keyrings for systemd: OpenPGP public keys in binary form (RFC 9580), because gpg reads no other form as a keyring."""

from __future__ import annotations

import base64
import binascii
import re

from stagewright.errors import Reason, StagewrightError

_BLOCK = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?P<head>(?:[^\r\n]+: [^\r\n]*\r?\n)*\r?\n)?"
    rb"(?P<body>[A-Za-z0-9+/=\s]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\r?\n-----END PGP PUBLIC KEY BLOCK-----"
)
_PUBLIC_KEY, _SECRET_KEY = 6, 5  # types of packets, RFC 9580, 5


def binary_keyring(data: bytes, name: str) -> bytes:
    """Return the public keys of a file, armored or not, as a keyring. ``name`` is that of the file in errors.

    Raises: INVALID_VALUE for a file that does not begin with a public key.
    """
    found = data
    if data.lstrip().startswith(b"-----BEGIN PGP"):
        try:
            found = b"".join(base64.b64decode(match["body"], validate=False) for match in _BLOCK.finditer(data))
        except binascii.Error:
            found = b""
    kind = _kind(found)
    if kind != _PUBLIC_KEY:
        what = "a secret key" if kind == _SECRET_KEY or b"PRIVATE KEY" in data else "not an OpenPGP public key"
        message = f"{name}: {what}"
        raise StagewrightError(Reason.INVALID_VALUE, message, hint="write it with: gpg --armor --export FINGERPRINT")
    return found


def _kind(data: bytes) -> int | None:
    """Return the type of the first packet; None if there is none."""
    if not data or not data[0] & 0x80:
        return None
    return data[0] & 0x3F if data[0] & 0x40 else (data[0] >> 2) & 0xF
