"""Identifiers of encrypted partitions (LUKS2 on-disk format 1.1.1)."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from pathlib import Path

_MAGIC = b"LUKS\xba\xbe"
_UUID = slice(168, 208)  # in the binary header

HEADER = 16 << 20
"""Size of the header that systemd-repart makes, in bytes."""


def luks_uuid(partition: str) -> str:
    """Return the UUID of the header in a partition with this UUID, as systemd-repart derives it."""
    digest = hmac.new(uuid.UUID(partition).bytes, b"luks-uuid", hashlib.sha256).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def read_uuid(image: Path, start: int) -> str | None:
    """Return the UUID of the header of a partition that begins at ``start``; None if it has none."""
    with image.open("rb") as stream:
        stream.seek(start)
        head = stream.read(_UUID.stop)
    return head[_UUID].rstrip(b"\0").decode("ascii", errors="replace") if head.startswith(_MAGIC) else None
