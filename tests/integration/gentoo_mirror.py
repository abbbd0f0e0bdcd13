"""A mirror with the layout of Gentoo's: stage3 tarballs, signed by a key of the test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from integration.signing import Signer
from integration.web import Site

VARIANT = "stage3-amd64-systemd"
STAMP = "20261115T170000Z"
AUTOBUILDS = "releases/amd64/autobuilds"


def digests(entries: dict[str, bytes], *kinds: str) -> bytes:
    """Return a DIGESTS file in the format of Gentoo's release tools."""
    names = {"BLAKE2B": "blake2b", "SHA512": "sha512", "SHA256": "sha256"}
    lines = []
    for file, content in entries.items():
        for kind in kinds:
            lines += [f"# {kind} HASH", f"{hashlib.new(names[kind], content).hexdigest()}  {file}"]
    return ("\n".join(lines) + "\n").encode()


def listing(entries: dict[str, int], ts: int = 1794762000) -> bytes:
    """Return a latest-*.txt with path and size (bytes) of each file."""
    head = ["# Latest as of Sun, 15 Nov 2026 17:00:00 +0000", f"# ts={ts}"]
    return ("\n".join([*head, *(f"{path} {size}" for path, size in entries.items())]) + "\n").encode()


@dataclass
class GentooMirror:
    """A mirror: its site, and the signer of its files."""

    site: Site
    signer: Signer

    def path(self, end: str = "", variant: str = VARIANT, stamp: str = STAMP) -> str:
        return f"/{AUTOBUILDS}/{stamp}/{variant}-{stamp}.tar.xz{end}"

    def latest(self, variant: str = VARIANT) -> str:
        return f"/{AUTOBUILDS}/latest-{variant}.txt"

    def publish(self, content: bytes, variant: str = VARIANT, stamp: str = STAMP) -> None:
        """Publish a stage3 with its companion files as the latest one."""
        name, path = f"{variant}-{stamp}.tar.xz", self.path(variant=variant, stamp=stamp)
        entries = {name: content, f"{name}.CONTENTS.gz": b"contents"}
        self.put(path, content)
        self.put(f"{path}.DIGESTS", self.signer.clearsign(digests(entries, "BLAKE2B", "SHA512")))
        self.put(f"{path}.sha256", self.signer.clearsign(digests({name: content}, "SHA256")))
        self.put(f"{path}.asc", self.signer.detached(content))
        self.announce({f"{stamp}/{name}": len(content)}, variant)

    def announce(self, entries: dict[str, int], variant: str = VARIANT) -> None:
        self.put(self.latest(variant), self.signer.clearsign(listing(entries)))

    def put(self, path: str, content: bytes) -> Path:
        return self.site.put(path.lstrip("/"), content)

    def read(self, path: str) -> bytes:
        return (self.site.root / path.lstrip("/")).read_bytes()

    def table(self, more: str = "") -> str:
        """Return the table of the seed in a project file."""
        keys = f'keys = ["{self.signer.fingerprint}"]\nkeyring = "keys.asc"\n'
        return f'[seeds.it]\nmirror = "{self.site.url}"\nvariant = "{VARIANT}"\n{keys}{more}'
