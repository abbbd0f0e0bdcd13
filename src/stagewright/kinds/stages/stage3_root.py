"""stage3-root: a system of binary packages in a clean root; nothing is compiled inside that root.

Input: a root with Portage and a compiler. A first node builds all packages, with their build dependencies, into a root
that is not shipped. A second node installs binary packages of the first into an empty root: those that add groups and
users come before the packages that need the accounts. The result has no build dependencies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.layer import finish_layer
from stagewright.kinds.common.system import empty_world, select_toolchain, set_time_zone_and_locale, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.stages.stage3_prepared import PreparedRoot, RootSettings
from stagewright.portage.binpkgs import packages_with_paths
from stagewright.portage.emerge import PORTAGE_UID, Portage
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import packages_of
from stagewright.root import files
from stagewright.root.owners import check_owners

if TYPE_CHECKING:
    from stagewright.root.root import Root

ACCOUNTS = ("acct-group/", "acct-user/")
"""Categories of packages that add groups and users, in the required order (GLEP 81)."""

SYSUSERS = "usr/bin/systemd-sysusers"


class RootStage3(RootSettings, kind="stage3-root"):
    """A stage of kind ``stage3-root``."""

    def expand(self, name: str, scope: Scope) -> None:
        """Add two nodes: the prepared root, and the clean root."""
        prepared = PreparedRoot(**{field: getattr(self, field) for field in PreparedRoot.model_fields})
        first = replace(prepared.node(f"{name}.prepared", scope), place=scope.entry(name).place())
        node = self.node(name, scope)
        scope.targets[first.id] = (scope.add(first),)
        scope.targets[name] = (scope.add(replace(node, inputs={**node.inputs, "prepared": first.id})),)

    def build(self, work: Work[PackageContext]) -> Built:
        """Install the binary packages of the prepared root."""
        target, portage = self._new_root_with_packages(work)
        self.merge(portage, self._accounts(work), binary=True)
        if files.exists(target.path, SYSUSERS):
            target.run("systemd-sysusers")
        check_owners(target.path, also=[PORTAGE_UID])
        select_toolchain(target, work)
        set_time_zone_and_locale(target, work)
        if self.packages == ["@system"]:
            empty_world(target, work)
        ship_configuration(self, target, portage, work)
        facts = LayerFacts(toolchain=work.key.digest, package_count=len(packages_of(target.path)))
        return finish_layer(target, work, portage, facts)

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield nothing: all packages come from the prepared root."""
        yield from ()

    def shell_root(self, work: Work[PackageContext]) -> Root:
        """Return the root that builds, with the new root at /mnt/target and the binary packages in PKGDIR."""
        return self._new_root_with_packages(work)[1].root

    def _new_root_with_packages(self, work: Work[PackageContext]) -> tuple[Root, Portage]:
        target, portage = self.new_root(work)
        portage.folders.pkgdir.lend(packages_with_paths(work.store.binpkgs(work.inputs["prepared"].key)))
        # One package at a time: /etc/passwd has the order of merges.
        return target, replace(portage, binpkgs=None, jobs=1)

    def _accounts(self, work: Work[PackageContext]) -> list[list[str]]:
        """Return two lists of atoms: the packages of the prepared root that add groups, and those that add users."""
        names = [package.name for package in packages_of(work.artifact("prepared"))]
        return [[f"={name}" for name in names if name.startswith(category)] for category in ACCOUNTS]
