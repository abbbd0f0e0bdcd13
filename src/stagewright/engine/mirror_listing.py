"""The stage3 tarballs on a Gentoo mirror, and the seeds of a project that use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.arch import Arch, host_machine
from stagewright.fetch.openpgp import keyring as keyring_of
from stagewright.kinds.seeds.mirror import MirrorSeed
from stagewright.project.model import Project
from stagewright.seeds import gentoo
from stagewright.seeds.gentoo_keyring import existing_keyring
from stagewright.temporary import temporary_folder


@dataclass(frozen=True)
class SeedUse:
    """A seed of the project that uses a tarball, and the file that it is pinned to, if it is pinned."""

    name: str
    pinned: str | None


@dataclass(frozen=True)
class MirrorListing:
    """The tarballs for one architecture, and by variant the seeds that use them."""

    mirrors: Sequence[str]
    arch: str
    tarballs: Sequence[gentoo.StageTarball]
    uses: Mapping[str, Sequence[SeedUse]]


@dataclass(frozen=True)
class ListingRequest:
    """Settings that replace those of the project: addresses, architecture, file of keys, and fingerprints."""

    mirrors: Sequence[str] = ()
    arch: str | None = None
    keyring: Path | None = None
    keys: Sequence[str] = ()


def list_mirror(project: Project | None, request: ListingRequest) -> MirrorListing:
    """Fetch the list of a mirror, and verify its signature.

    What the request leaves open is taken from the first ``mirror`` seed of the project, else from Gentoo. Raises the
    reasons of a failed download or a bad signature.
    """
    seeds = _seeds(project)
    first = next(iter(seeds.values()), None)
    default = project.info.arch if project else Arch(host_machine().arch).value
    arch = request.arch or (first and gentoo.directory(first.variant, first.arch)) or default
    mirrors = request.mirrors or (first.mirrors if first else [gentoo.DEFAULT_MIRROR])
    keys = request.keys or (first.keys if first else gentoo.RELEASE_KEYS)
    own = project.path(first.keyring) if project and first and first.keyring else None
    with (
        temporary_folder("seeds") as folder,
        keyring_of([existing_keyring(request.keyring or own)], keys) as trusted,
    ):
        tarballs = gentoo.ReleaseMirror(list(mirrors), gentoo.folder_of(arch), trusted, folder).listing()
    pins = project.lock.seeds if project else {}
    files = {name: pins.get(name, {}).get("file") for name in seeds}
    uses = {
        tarball.variant: [SeedUse(name, files[name]) for name, seed in seeds.items() if seed.variant == tarball.variant]
        for tarball in tarballs
    }
    return MirrorListing(mirrors, arch, tarballs, uses)


def _seeds(project: Project | None) -> dict[str, MirrorSeed]:
    entries = project.entries["seeds"].values() if project else ()
    return {entry.name: entry.model for entry in entries if isinstance(entry.model, MirrorSeed)}
