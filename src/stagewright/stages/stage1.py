"""stage1: the least that can build a compiler, in a root of its own (R2, R10).

Takes a seed; merges the profile's ``packages.build`` with ROOT= into an empty folder, sys-apps/baselayout first and
everything with ``USE="-* build"`` and the profile's BOOTSTRAP_USE; yields that folder as a layer with nothing below.
The steps are those of Gentoo's release builder.
"""

from __future__ import annotations

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import installed
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.stages.base import Built, Work
from stagewright.stages.packages import settle_database
from stagewright.stages.system import SystemStage, empty_world, ship_configuration

TARGET = "/tmp/stage1root"
BASELAYOUT = "sys-apps/baselayout"


class Stage1(SystemStage, kind="stage1"):
    """A stage of kind ``stage1``. ``packages`` are merged besides those of the profile."""

    update_seed: bool = False
    """Update the seed before anything is built with it."""
    update_seed_command: list[str] = ["--update", "--deep", "--newuse", "@world"]
    """What emerge(1) is told to do for that."""

    def build(self, work: Work) -> Built:
        """Merge the packages into a fresh folder."""
        target, portage = self._prepare(work)
        if self.update_seed:
            work.phase("update the seed")
            portage.install(self.update_seed_command, options=["--buildpkg=n"])
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
        )
        new = Root(target.path, target.upper, log=work.log)
        empty_world(new, work)
        ship_configuration(self, new, portage, work)
        work.phase("commit")
        settle_database(target.path, work)
        files.clamp_times(target.path, work.epoch)
        names = [package.name for package in installed(target.path)]
        return Built(target.path, (), {"toolchain": work.key, "packages": len(names)})

    def open(self, work: Work) -> Root:
        """The seed, with the new root at /tmp/stage1root."""
        return self._prepare(work)[1].root

    def _prepare(self, work: Work) -> tuple[Root, Portage]:
        folder = work.folder / "target"
        folder.mkdir(exist_ok=True)
        _, portage = self.portage(work, [Bind(folder, TARGET, writable=True)])
        return Root(folder, folder, log=work.log), portage
