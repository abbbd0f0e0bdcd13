"""Checksums of downloaded files, by several algorithms at once, and their comparison with the expected ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from stagewright.errors import Reason, StagewrightError


def checksums_of(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """Return the checksums of a file in hexadecimal, by the names of hashlib. The file is read once."""
    hashes = {kind: hashlib.new(kind) for kind in kinds}
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            for one in hashes.values():
                one.update(chunk)
    return {kind: one.hexdigest() for kind, one in hashes.items()}


def check_checksums(path: Path, name: str, expected: Mapping[str, str]) -> None:
    """Raise ``DIGEST_MISMATCH`` if a file does not have these checksums; ``name`` is its name in the error."""
    found = checksums_of(path, expected)
    for kind, digest in expected.items():
        if found[kind] != digest:
            raise StagewrightError(
                Reason.DIGEST_MISMATCH,
                f"{name}: wrong {kind} (expected {digest}, found {found[kind]})",
                hint="the file was discarded: fetch it from another source, or correct the digest",
            )
