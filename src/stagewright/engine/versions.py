"""Package versions of a project's stages that differ between two states of a repository.

The trees alone are compared; dependencies are not calculated. For each package that a built stage has from the
repository, this is the best ebuild of its slot in either tree. Ebuilds must be stable for the stage's architecture, or
in testing if the stage accepts these (``accept_keywords``) or has one installed. Masks of profiles and confdirs are
ignored (decision 15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagewright.chroot import inside
from stagewright.engine.pins import PinChange
from stagewright.engine.workspace import Workspace
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Yields
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.packages import PackageStage
from stagewright.portage.ebuilds import Ebuild, best_ebuild, ebuilds, split_version
from stagewright.portage.installed import Package, installed_packages
from stagewright.project.model import Project
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.store.store import Store


@dataclass(frozen=True)
class VersionChange:
    """A package of a stage, and the best version for it before and after; None if there is no version."""

    stage: str
    package: str
    old: str | None
    new: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON-able data."""
        return asdict(self)


def version_changes(workspace: Workspace, change: PinChange) -> list[VersionChange]:
    """Return what the new pin of a repository changes for the packages of the stages in the store.

    The list is empty if the tree of the old pin is not in the store.
    """
    project, store, old, new = workspace.project, workspace.store, change.old, change.new
    cache = RepositoryCache.of(store.path)
    if not old or old["tree"] == new["tree"] or not cache.has(old["tree"]):
        return []
    before, after = cache.path(old["tree"]), cache.path(new["tree"])
    found = []
    for name, stage, packages in _stages(project, store):
        arch = Scope(project).arch(name)
        testing = any(word in ("**", "~*", f"~{arch}") for word in stage.accept_keywords)
        pairs = ((package, _change(name, package, before, after, arch, testing)) for package in packages)
        found += [changed for package, changed in pairs if package.repository == change.target.name and changed]
    return sorted(set(found), key=lambda changed: (changed.stage, changed.package))


def _stages(project: Project, store: Store) -> Iterator[tuple[str, PackageStage, list[Package]]]:
    """Yield the stages that were built, each with the packages that it added to its root."""
    for name, entry in project.entries["stages"].items():
        keys = [key for key in store.former(project.records, name) if store.has(Yields.LAYER, key)]
        if isinstance(entry.model, PackageStage) and keys:
            yield name, entry.model, inside(store.tree(Yields.LAYER, keys[-1]), installed_packages, Path("/"))


def _change(stage: str, package: Package, before: Path, after: Path, arch: str, testing: bool) -> VersionChange | None:
    name, version = split_version(package.name)
    in_trees = [_in_slot(tree, name, package.slot) for tree in (before, after)]
    current = next((ebuild for ebuild in in_trees[0] if ebuild.version == version), None)
    testing = testing or (current is not None and arch not in current.keywords)
    old, new = (best_ebuild(found, arch, testing=testing) for found in in_trees)
    if old and new and old.version == new.version and file_digest(old.path) == file_digest(new.path):
        return None
    if old is None and new is None:
        return None
    return VersionChange(stage, name, old.version if old else None, new.version if new else None)


def _in_slot(tree: Path, package: str, slot: str) -> list[Ebuild]:
    return [ebuild for ebuild in ebuilds(tree, package) if ebuild.slot in ("", slot.partition("/")[0])]
