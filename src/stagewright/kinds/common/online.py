"""Live packages of a stage: the setting ``online``, their pins, and their sources for a build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pydantic import ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.work import Work
from stagewright.portage.emerge import Portage
from stagewright.portage.live import CLONES, Commits, LiveCache, LivePin, fetch_live, offline_variables
from stagewright.project.lock import Lock, Pin
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

Mount = Callable[[Work[PackageContext]], tuple[Root, Portage]]
"""Mounts the root of a work, without the sources of live packages."""


def pinned_commits(lock: Lock, atoms: list[str]) -> dict[str, dict[str, str]]:
    """Return the commits that the lock has for live packages, by atom. Pins that are not valid are left out."""
    found = {}
    for atom in atoms:
        try:
            found[atom] = LivePin.model_validate(lock.online.get(atom, {})).commits
        except ValidationError:
            continue
    return found


def look_up(atom: str, mount: Mount, work: Work[PackageContext]) -> Pin:
    """Fetch the newest source of a live package, keep it in the store, and return its pin."""
    return _fetch(atom, {}, mount, work).model_dump()


def lend_sources(root: Root, atoms: list[str], mount: Mount, work: Work[PackageContext]) -> Root:
    """Return the root with the pinned sources of live packages. Fetch those that the store does not have.

    Raises: LOCK_STALE if the lock does not pin one of them, and the errors of :func:`fetch_live`.
    """
    pins = {atom: work.context.online.get(atom, {}) for atom in atoms}
    for atom, commits in pins.items():
        if not commits:
            what = f"stagewright.lock: no valid pin of the live package {atom}"
            raise StagewrightError(Reason.LOCK_STALE, what, hint=f"stagewright update {atom}")
    variables, cache, target = offline_variables(pins), _cache(work), work.new_folder("clones")
    for atom, commits in pins.items():
        if not cache.clones(atom, commits).is_dir():
            _fetch(atom, commits, mount, work)
        cache.lend(atom, commits, target)
    return root.with_binds(Bind(target, CLONES, writable=True), **variables)


def _fetch(atom: str, commits: Commits, mount: Mount, work: Work[PackageContext]) -> LivePin:
    """Fetch the source of a live package in a separate root, and keep the clones."""
    work.phase(f"fetch {atom}")
    folder = work.new_folder(f"online/{len(list((work.folder / 'online').glob('*')))}")
    _, portage = mount(replace(work, folder=folder))
    pin = fetch_live(portage, atom, commits, folder / "clones")
    if commits and pin.commits != commits:
        what = f"online: {atom}: its ebuild fetches other repositories than those that the lock pins"
        detail = f"  pinned: {_shown(commits)}\n  fetched: {_shown(pin.commits)}"
        hint = f"stagewright update {atom}"
        raise StagewrightError(Reason.LOCK_STALE, what, detail=detail, hint=hint)
    _cache(work).keep(folder / "clones", atom, pin.commits)
    return pin


def _shown(commits: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {commit[:12]}" for name, commit in sorted(commits.items()))


def _cache(work: Work[PackageContext]) -> LiveCache:
    return LiveCache(work.store.cache("live") / work.origins[0])
