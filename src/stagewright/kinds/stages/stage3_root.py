"""stage3-root: a system made of binary packages in a pristine root, which no build has ever touched (R83, R91, R92).

Takes a root with Portage and a compiler. One node builds every package into a root that is thrown away, and leaves the
binary packages; a second one installs nothing but these into a clean root. So no build dependency reaches it, and the
users and groups of packages are there before the packages that need them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.packages import layer
from stagewright.kinds.common.system import empty_world, select_toolchain, settle_places, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.stages.stage3_prepared import Prepared, RootSettings
from stagewright.portage.binpkgs import link_packages
from stagewright.portage.emerge import PORTAGE_UID, InstallRequest, Portage
from stagewright.portage.installed import installed_packages
from stagewright.root import files
from stagewright.root.owners import check_owners
from stagewright.root.root import Root

ACCOUNTS = ("acct-group/", "acct-user/")
"""Categories of packages that make groups and users, in the order in which they are needed (GLEP 81)."""

SYSUSERS = "usr/bin/systemd-sysusers"


class RootStage3(RootSettings, kind="stage3-root"):
    """A stage of kind ``stage3-root``."""

    def expand(self, name: str, scope: Scope) -> None:
        """Two nodes: the prepared root, and the pristine one."""
        prepared = Prepared(**{field: getattr(self, field) for field in Prepared.model_fields})
        first = replace(prepared.node(f"{name}.prepared", scope), place=scope.entry(name).place())
        node = self.node(name, scope)
        scope.targets[first.id] = (scope.add(first),)
        scope.targets[name] = (scope.add(replace(node, inputs={**node.inputs, "prepared": first.id})),)

    def build(self, work: Work[PackageContext]) -> Built:
        """Install the binary packages (R92)."""
        target, portage = self._rooms_with_packages(work)
        self.merge(portage, self._accounts(work), binary=True)
        if files.exists(target.path, SYSUSERS):
            target.run("systemd-sysusers")
        check_owners(target.path, also=[PORTAGE_UID])
        select_toolchain(target, work)
        settle_places(target, work)
        if self.packages == ["@system"]:
            empty_world(target, work)
        ship_configuration(self, target, portage, work)
        facts = LayerFacts(toolchain=work.key.digest, package_count=len(installed_packages(target.path)))
        return layer(target, work, portage, facts)

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """None: everything comes from the binary packages of the prepared root."""
        yield from ()

    def open(self, work: Work[PackageContext]) -> Root:
        """The root that builds, with the new one at /mnt/target and the binary packages in PKGDIR."""
        return self._rooms_with_packages(work)[1].root

    def _rooms_with_packages(self, work: Work[PackageContext]) -> tuple[Root, Portage]:
        target, portage = self.rooms(work)
        link_packages(work.store.binpkgs(work.inputs["prepared"].key), portage.folders.binpkgs)
        return target, replace(portage, binpkgs=None)

    def _accounts(self, work: Work[PackageContext]) -> list[list[str]]:
        """What makes groups, then what makes users, of all that was built (R93)."""
        names = [package.name for package in installed_packages(work.artifact("prepared"))]
        return [[f"={name}" for name in names if name.startswith(category)] for category in ACCOUNTS]
