"""stage1: the least that can build a compiler, in a root of its own (R2, R10).

Takes a seed; merges the profile's ``packages.build`` with ROOT= into an empty folder, sys-apps/baselayout first and
everything with ``USE="-* build"`` and the profile's BOOTSTRAP_USE; yields that folder as a layer with nothing below.
The steps are those of Gentoo's release builder.
"""

from __future__ import annotations

from collections.abc import Iterator

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.packages import TARGET, OwnRootStage, layer
from stagewright.kinds.common.system import empty_world, select_toolchain, settle_places, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import InstallRequest, Portage
from stagewright.portage.installed import installed_packages

BASELAYOUT = "sys-apps/baselayout"


class Stage1(OwnRootStage, kind="stage1"):
    """A stage of kind ``stage1``. ``packages`` are merged besides those of the profile."""

    update_seed: bool = False
    """Update the seed before anything is built with it."""
    update_seed_command: list[str] = ["--update", "--deep", "--newuse", "@world"]
    """What emerge(1) is told to do for that."""

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """What updates the seed, and what the profile says that a stage1 is made of."""
        if self.update_seed:
            yield InstallRequest(self.update_seed_command)
        wanted = portage.stage1_packages()
        options, use = ["--oneshot", "--implicit-system-deps=n"], f"-* build {wanted.bootstrap_use}"
        yield InstallRequest([*wanted.packages, *self.packages], TARGET, options, use)

    def build(self, work: Work[PackageContext]) -> Built:
        """Merge the packages into a fresh folder."""
        target, portage = self.rooms(work)
        if self.update_seed:
            work.phase("update the seed")
            portage.install(self.update_seed_command, options=["--buildpkg=n"])
            portage.install(["@changed-subslot"], options=["--oneshot", "--buildpkg=n"])
        wanted = portage.stage1_packages()
        if not wanted.packages:
            raise StagewrightError(
                Reason.DEPENDENCIES,
                f"the profile {self.profile!r} has no packages.build, so nothing says what a stage1 is",
                hint="use a profile that has one, or start with a stage3",
            )
        if any(BASELAYOUT in atom for atom in wanted.packages):
            portage.install([BASELAYOUT], target=TARGET, options=["--oneshot", "--nodeps"], use="build")
        portage.install(
            [*wanted.packages, *self.packages],
            target=TARGET,
            options=["--oneshot", "--implicit-system-deps=n"],
            use=f"-* build {wanted.bootstrap_use}",
            features="nodoc noman noinfo",
        )
        select_toolchain(target, work)
        settle_places(target, work)
        empty_world(target, work)
        ship_configuration(self, target, portage, work)
        facts = LayerFacts(toolchain=work.key.digest, package_count=len(installed_packages(target.path)))
        return layer(target, work, portage, facts)
