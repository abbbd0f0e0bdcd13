"""mirror: the newest stage3 of a variant from a Gentoo mirror, signed by Gentoo's release keys.

A seed selects it with ``mirror = "https://..."`` and ``variant``. The lock pins the file and its digests. Builds use
exactly this file until ``stagewright update`` looks for a newer one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.checksums import check_checksums
from stagewright.fetch.download import download
from stagewright.fetch.openpgp import keyring
from stagewright.graph.given import NotInKey
from stagewright.kinds.common.archived import (
    ArchiveSeed,
    FileName,
    FileSize,
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
from stagewright.seeds import gentoo
from stagewright.seeds.gentoo_keyring import existing_keyring

OLD = 45
"""Stagewright reports a newest stage3 that is older than this number of days. Gentoo builds most stage3s every week."""


class MirrorPin(SeedPin):
    """The stage3 that the lock pins."""

    file: FileName
    size: FileSize
    sha512: Sha512
    blake2b: Sha512


class MirrorSeed(ArchiveSeed, PinnedSeed, kind="mirror"):
    """A seed with ``mirror``."""

    required_tools = (*ArchiveSeed.required_tools, GNUPG)
    pin_model = MirrorPin

    mirror: Annotated[Url | Annotated[list[Url], Field(min_length=1)], NotInKey()]
    """A Gentoo mirror, such as `https://distfiles.gentoo.org`, or a list of them. The first that works is used."""
    variant: Annotated[str, Matching(gentoo.VARIANT, "a variant such as stage3-amd64-systemd"), NotInKey()]
    """The name of the stage3 without its date. `stagewright seeds` lists the names."""
    keys: Annotated[list[Fingerprint], Field(min_length=1), NotInKey()] = list(gentoo.RELEASE_KEYS)
    """Fingerprints of the primary keys whose signatures are accepted; default: Gentoo's release keys."""
    keyring: Annotated[FilePath | None, NotInKey()] = None
    """A file with the keys, as `gpg --export` writes it; default: /usr/share/openpgp-keys/gentoo-release.asc, or
    that of `stagewright keys fetch`."""

    def known_arch(self, pin: Mapping[str, Any]) -> Arch | None:
        """Return the architecture by the settings: `arch`, or that of the variant."""
        word = gentoo.arch_of(self.variant)
        return self.arch or (Arch(word) if word in list(Arch) else None)

    def pin(self, work: Work[SeedContext]) -> Pin:
        """Look up the newest stage3 on the mirror, fetch it and verify it."""
        known = (work.context.pin or {}).get("file")
        work.phase("look up the newest")
        with self._mirror(work) as mirror:
            stage = mirror.latest(self.variant, gentoo.stamp_of(str(known or ""), self.variant))
            if (days := gentoo.age(stage)) > OLD:
                work.notice(f"{stage.file}: the newest one on the mirror is {days} days old")
            found = mirror.digests(stage)
            work.phase(f"fetch {stage.file}")
            mirror.fetch(found, cached_file(work, found.sha512, stage.file), progress(work, stage.file))
        return {
            "arch": mirror.arch,
            "file": stage.file,
            "size": stage.size,
            "sha512": found.sha512,
            "blake2b": found.blake2b,
            "signer": found.signer,
        }

    def build(self, work: Work[SeedContext]) -> Built:
        """Unpack the pinned tarball. Fetch it again if it is not in the cache."""
        pin = pin_of(work, MirrorPin)
        name = pin.file
        digests = {"sha512": pin.sha512, "blake2b": pin.blake2b}
        archive = cached_file(work, pin.sha512, name)
        urls = gentoo.urls(self.mirrors, gentoo.directory(self.variant, self.arch), gentoo.path_of(name, self.variant))
        work.phase(f"fetch {name}")
        try:
            download(
                urls,
                archive,
                size=pin.size,
                verify=lambda path: check_checksums(path, name, digests),
                progress=progress(work, name),
            )
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            hint = "mirrors keep a stage3 for a few weeks; run stagewright update to use the newest"
            raise StagewrightError(error.reason, error.message, detail=error.detail, hint=hint) from error
        return self.unpack(work, archive, pin.model_dump(), name)

    @property
    def mirrors(self) -> list[str]:
        """The mirrors, in the order in which they are tried."""
        return [self.mirror] if isinstance(self.mirror, str) else self.mirror

    @contextlib.contextmanager
    def _mirror(self, work: Work[SeedContext]) -> Iterator[gentoo.ReleaseMirror]:
        file = work.files[self.keyring] if self.keyring else None
        with keyring([existing_keyring(file)], self.keys) as keys:
            yield gentoo.ReleaseMirror(self.mirrors, gentoo.directory(self.variant, self.arch), keys, work.folder)
