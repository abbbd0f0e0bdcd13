"""Digests of what was fetched, several at once, and comparing them with what they must be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from stagewright.errors import Reason, StagewrightError


def checksums_of(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """The digests of a file in hexadecimal, by hashlib's names of them; the file is read once."""
    hashes = {kind: hashlib.new(kind) for kind in kinds}
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            for one in hashes.values():
                one.update(chunk)
    return {kind: one.hexdigest() for kind, one in hashes.items()}


def check_checksums(path: Path, name: str, expected: Mapping[str, str]) -> None:
    """Raise ``DIGEST_MISMATCH`` for a file that has not these digests; ``name`` is what the error calls it."""
    found = checksums_of(path, expected)
    for kind, digest in expected.items():
        if found[kind] != digest:
            raise StagewrightError(
                Reason.DIGEST_MISMATCH,
                f"{name} has {kind} {found[kind]}, not {digest}",
                hint="nothing of it was kept; get it from another source, or correct the digest",
            )
