"""stage1: the smallest system that can build a compiler, in a clean root.

Input: a root with Portage and a compiler, usually a seed. Portage installs the profile's ``packages.build`` with ROOT=
into an empty folder: sys-apps/baselayout first, then all packages with ``USE="-* build"`` and the profile's
BOOTSTRAP_USE. The result is that folder, as a layer without layers below. The steps are those of Catalyst.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.layer import finish_layer
from stagewright.kinds.common.packages import TARGET, OwnRootStage
from stagewright.kinds.common.system import empty_world, select_toolchain, set_time_zone_and_locale, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import Stage1Packages
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import packages_of

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage

BASELAYOUT = "sys-apps/baselayout"

OPTIONS = ("--oneshot", "--implicit-system-deps=n")
"""Options of emerge(1) for the packages of the new root."""


class Stage1(OwnRootStage, kind="stage1"):
    """A stage of kind ``stage1``. ``packages`` are installed in addition to those of the profile."""

    is_configured = False

    update_seed: bool = False
    """Update the packages of the seed (the input of this stage) before it builds anything."""
    update_seed_command: list[str] = ["--update", "--deep", "--newuse", "@world"]
    """The arguments of emerge(1) for this update."""

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the update of the seed, the packages of the profile's stage1, and those of the stage."""
        if self.update_seed:
            yield FetchRequest(self.update_seed_command)
        wanted = portage.stage1_packages()
        yield FetchRequest([*wanted.packages, *self.packages], TARGET, OPTIONS, _use(wanted))

    def build(self, work: Work[PackageContext]) -> Built:
        """Install the packages into an empty folder."""
        target, portage = self.new_root(work)
        if self.update_seed:
            work.phase("update the seed")
            portage.install(self.update_seed_command, options=["--buildpkg=n"])
        wanted = portage.stage1_packages()
        if not wanted.packages:
            raise StagewrightError(
                Reason.DEPENDENCIES,
                f"profile {self.profile!r}: it has no packages.build, which lists the packages of a stage1",
                hint="use a profile that has one, or begin with a stage3",
            )
        if any(BASELAYOUT in atom for atom in wanted.packages):
            portage.install([BASELAYOUT], target=TARGET, options=["--oneshot", "--nodeps"], use="build")
        portage.install(
            [*wanted.packages, *self.packages],
            target=TARGET,
            options=OPTIONS,
            use=_use(wanted),
            features="nodoc noman noinfo",
        )
        select_toolchain(target, work)
        set_time_zone_and_locale(target, work)
        empty_world(target, work)
        ship_configuration(self, target, portage, work)
        facts = LayerFacts(toolchain=work.key.digest, package_count=len(packages_of(target.path)))
        return finish_layer(target, work, portage, facts)


def _use(wanted: Stage1Packages) -> str:
    return f"-* build {wanted.bootstrap_use}"
