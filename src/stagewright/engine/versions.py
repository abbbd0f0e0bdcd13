"""Which packages of a project's stages have other versions in another state of a repository.

Told from the trees alone, without a calculation of dependencies: for each package that a built stage has from the
repository, the best ebuild of its slot in either tree, among those that are stable for the stage's architecture, or
being tested there if the stage takes these (``accept_keywords``) or has one installed. Masks of profiles and confdirs
are not looked at (decision 15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagewright.chroot import inside
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Yields
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.packages import PackageStage
from stagewright.portage.ebuilds import Ebuild, best_ebuild, ebuilds, split_version
from stagewright.portage.installed import Package, installed
from stagewright.project.lock import Pin
from stagewright.project.model import Project
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.store.store import Store


@dataclass(frozen=True)
class Change:
    """A package of a stage, and the best version for it before and after; None where there is none."""

    stage: str
    package: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old == self.new:
            return f"{self.stage}: {self.package}-{self.new} (its ebuild changed)"
        return f"{self.stage}: {self.package} {self.old or 'nothing'} -> {self.new or 'nothing'}"

    def to_dict(self) -> dict[str, Any]:
        """The change for programs."""
        return asdict(self)


def changes(project: Project, store: Store, repo: str, old: Pin | None, new: Pin) -> list[Change]:
    """What changes for the stages that are in the store, from one pin of a repository to the other.

    Nothing can be told without a former tree in the store.
    """
    cache = RepositoryCache.of(store.path)
    if not old or old["tree"] == new["tree"] or not cache.has(old["tree"]):
        return []
    before, after = cache.path(old["tree"]), cache.path(new["tree"])
    found = []
    for name, stage, packages in _stages(project, store):
        arch = Scope(project).arch(name)
        testing = any(word in ("**", "~*", f"~{arch}") for word in stage.accept_keywords)
        pairs = ((package, _change(name, package, before, after, arch, testing)) for package in packages)
        found += [change for package, change in pairs if package.repository == repo and change]
    return sorted(set(found), key=lambda change: (change.stage, change.package))


def _stages(project: Project, store: Store) -> Iterator[tuple[str, PackageStage, list[Package]]]:
    """The stages that were built, each with the packages that it added to the root below."""
    for name, entry in project.entries["stages"].items():
        keys = [key for key in store.former(project.info.name, name) if store.has(Yields.LAYER, key)]
        if isinstance(entry.model, PackageStage) and keys:
            yield name, entry.model, inside(store.tree(Yields.LAYER, keys[-1]), installed, Path("/"))


def _change(stage: str, package: Package, before: Path, after: Path, arch: str, testing: bool) -> Change | None:
    name, version = split_version(package.name)
    there = [_in_slot(tree, name, package.slot) for tree in (before, after)]
    mine = next((ebuild for ebuild in there[0] if ebuild.version == version), None)
    testing = testing or (mine is not None and arch not in mine.keywords)
    old, new = (best_ebuild(found, arch, testing=testing) for found in there)
    if old and new and old.version == new.version and file_digest(old.path) == file_digest(new.path):
        return None
    if old is None and new is None:
        return None
    return Change(stage, name, old.version if old else None, new.version if new else None)


def _in_slot(tree: Path, package: str, slot: str) -> list[Ebuild]:
    return [ebuild for ebuild in ebuilds(tree, package) if ebuild.slot in ("", slot.partition("/")[0])]
