"""Checks of the keyrings that a project verifies downloads with: missing, expired and revoked keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from stagewright.engine.doctor import Check
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.seeds.mirror import MirrorSeed
from stagewright.project.model import Project
from stagewright.repos.repository_source import GENTOO_KEYS
from stagewright.seeds.gentoo import RELEASE_KEYS
from stagewright.seeds.gentoo_keyring import FETCH, existing_keyring
from stagewright.seeds.gentoo_keys import key_states


def keyring_checks(project: Project) -> Iterator[Check]:
    """Yield a check for each keyring of seeds, repositories and binary package hosts. Each keyring is checked once."""
    done: set[tuple[Path | None, tuple[str, ...]]] = set()
    for name, file, wanted in _keyrings(project):
        if (file, wanted) not in done:
            done.add((file, wanted))
            yield _check(name, file, wanted)


def _keyrings(project: Project) -> Iterator[tuple[str, Path | None, tuple[str, ...]]]:
    """Yield what a keyring is for, its file (None: Gentoo's), and the fingerprints that must be in it (empty: any)."""
    for name, entry in project.entries["seeds"].items():
        if isinstance(seed := entry.model, MirrorSeed):
            yield f"keys of seed {name}", project.path(seed.keyring) if seed.keyring else None, tuple(seed.keys)
    for name, repo in project.repos.items():
        if repo.moves and (repo.verified or repo.manifests):
            own = project.path(repo.keyring) if repo.keyring else None
            yield f"keys of repository {name}", own, tuple(repo.keys or (() if own else GENTOO_KEYS))
    for name, host in project.binhosts.items():
        if host.keys or host.by_gentoo_keys:
            own = project.path(host.keys) if host.keys else None
            yield f"keys of binhost {name}", own, () if own else RELEASE_KEYS


def _check(name: str, file: Path | None, wanted: Collection[str]) -> Check:
    """Check a keyring. One good key is enough: a signature is by one of them."""
    try:
        place = existing_keyring(file)
        states = [state for state in key_states(place) if not wanted or state.fingerprint in wanted]
    except StagewrightError as error:
        return Check(name, False, error.message, error.reason, error.hint)
    remedy = FETCH if file is None else f"put the current keys into {file}"
    good = [state for state in states if not state.problem]
    if not good:
        said = "; ".join(f"{state.fingerprint} {state.problem}" for state in states) or "none of the keys found"
        reason = Reason.EXPIRED_KEY if states else Reason.NO_KEYS
        return Check(name, False, f"{place}: {said}", reason, remedy)
    longest = max(good, key=lambda state: state.expires or 1 << 40)
    soon = f" (soon: {remedy})" if longest.ends_soon else ""
    return Check(name, True, f"{place}, {len(good)} good, the last expires: {longest.day}{soon}")
