"""url: a root from a tarball on the web, verified by a digest or a signature.

A seed selects it with ``url = "https://..."``. A digest in the project names the file exactly. With ``signature`` and
``keys``, the first build verifies the file at the address and pins it in the lock, until ``stagewright update``.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.fetch.checksums import check_checksums, checksums_of
from stagewright.fetch.download import download
from stagewright.fetch.openpgp import keyring
from stagewright.fetch.web import without_password
from stagewright.graph.given import NotInKey
from stagewright.kinds.common.archived import (
    ArchiveSeed,
    FileName,
    Fingerprint,
    PinnedSeed,
    SeedPin,
    Sha512,
    Url,
    cached_file,
    pin_of,
    progress,
)
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.tools import GNUPG
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import FilePath, Matching
from stagewright.project.lock import Pin


class UrlPin(SeedPin):
    """The tarball that the lock pins."""

    file: FileName
    sha512: Sha512
    blake2b: Sha512


class UrlSeed(ArchiveSeed, PinnedSeed, kind="url"):
    """A seed with ``url``."""

    required_tools = (*ArchiveSeed.required_tools, GNUPG)
    pin_model = UrlPin

    url: Annotated[Url | Annotated[list[Url], Field(min_length=1)], NotInKey()]
    """The address of the tarball. Of several addresses, the first one that has it is used."""
    sha256: Annotated[Annotated[str, Matching(r"[0-9a-f]{64}", "64 hexadecimal digits")] | None, NotInKey()] = None
    """The SHA-256 digest of the tarball, which is checked."""
    sha512: Annotated[Annotated[str, Matching(r"[0-9a-f]{128}", "128 hexadecimal digits")] | None, NotInKey()] = None
    """The SHA-512 digest of the tarball, which is checked."""
    signature: Annotated[Url | None, NotInKey()] = None
    """The address of its detached OpenPGP signature."""
    keys: Annotated[list[Fingerprint], NotInKey()] = []
    """Fingerprints of the primary keys whose signatures are accepted."""
    keyring: Annotated[FilePath | None, NotInKey()] = None
    """A file with the keys, as `gpg --export` writes it."""

    @model_validator(mode="after")
    def _vouched_for(self) -> UrlSeed:
        signed = [self.signature, self.keys, self.keyring]
        if not (self.sha256 or self.sha512 or any(signed)):
            facts = {"hint": "add `sha256` or `sha512`; or `signature`, `keys` and `keyring`"}
            raise PydanticCustomError("unverified", "a digest or a signature is required", facts)
        if any(signed) and not all(signed):
            facts = {"hint": "a signature needs all of `signature`, `keys` and `keyring`"}
            raise PydanticCustomError("unverified", "the signature cannot be verified", facts)
        return self

    def pin(self, work: Work[SeedContext]) -> Pin:
        """Fetch the tarball and verify it."""
        target = cached_file(
            work, hashlib.sha256(self._urls[0].encode()).hexdigest(), self._file
        )  # named by the digest of its address, because that of the file is not known yet
        work.phase(f"fetch {self._file}")
        download(self._urls, target, verify=lambda path: self._verify(work, path), progress=progress(work, self._file))
        digests = checksums_of(target, ("sha512", "blake2b"))
        size = target.stat().st_size
        final = cached_file(work, digests["sha512"], self._file)
        final.parent.mkdir(parents=True, exist_ok=True)
        target.rename(final)
        return {"file": self._file, "size": size, **digests}

    def build(self, work: Work[SeedContext]) -> Built:
        """Unpack the pinned tarball. Fetch it again if it is not in the cache."""
        pin = pin_of(work, UrlPin)
        name, digests = pin.file, {"sha512": pin.sha512, "blake2b": pin.blake2b}
        work.phase(f"fetch {name}")
        archive = download(
            self._urls,
            cached_file(work, digests["sha512"], name),
            verify=lambda path: check_checksums(path, name, digests),
            progress=progress(work, name),
        )
        return self.unpack(work, archive, {"file": name, "url": without_password(self._urls[0]), **digests}, name)

    def _verify(self, work: Work[SeedContext], path: Path) -> None:
        wanted = {kind: value for kind, value in (("sha256", self.sha256), ("sha512", self.sha512)) if value}
        check_checksums(path, self._file, wanted)
        if self.signature and self.keyring:
            signature = work.folder / "signature"
            signature.unlink(missing_ok=True)
            download([self.signature], signature, limit=1 << 20)
            with keyring([work.files[self.keyring]], self.keys) as keys:
                keys.verify(signature, path, self._file)

    @property
    def _urls(self) -> list[str]:
        return [self.url] if isinstance(self.url, str) else self.url

    @property
    def _file(self) -> str:
        """The name of the file: the last part of its address."""
        name = without_password(self._urls[0]).partition("?")[0].rstrip("/").rpartition("/")[2]
        return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".") or "seed"
