"""embedded: packages in a clean root of their own, with nothing of the system that built them (R6).

Takes a root with Portage and a compiler; installs packages with ROOT= into an empty folder; yields that folder as a
layer with nothing below it. Build dependencies stay behind (R25).
"""

from __future__ import annotations

from stagewright.errors import Reason, StagewrightError
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.stages.base import Built, Work
from stagewright.stages.packages import Finish, PackageStage, finish, settle_database

TARGET = "/mnt/target"


class Embedded(PackageStage, Finish, kind="embedded"):
    """A stage of kind ``embedded``. The script runs inside the new root, so the packages must bring what it needs."""

    @property
    def uses_portage(self) -> bool:
        """Always: there is nothing else to fill the root with."""
        return True

    def build(self, work: Work) -> Built:
        """Merge the packages into a fresh folder."""
        if self.unmerge:
            raise StagewrightError(Reason.INVALID_VALUE, "unmerge: leave the packages out of `packages` instead")
        target = work.new_folder("target")
        _, portage = self.portage(work, [Bind(target, TARGET, writable=True)])
        portage.install(self.packages, target=TARGET)
        facts = finish(self, Root(target, target, log=work.log), work, None)
        work.phase("commit")
        settle_database(target, work)
        files.clamp_times(target, work.epoch)
        return Built(target, (), {"packages": len(list((target / "var/db/pkg").glob("*/*"))), **facts})

    def open(self, work: Work) -> Root:
        """The build's root, with the new one at /mnt/target."""
        target = work.folder / "target"
        target.mkdir(exist_ok=True)
        return self.portage(work, [Bind(target, TARGET, writable=True)])[0]
