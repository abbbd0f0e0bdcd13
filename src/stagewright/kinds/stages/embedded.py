"""embedded: packages in a clean root of their own, with nothing of the system that built them (R6).

Takes a root with Portage and a compiler; installs packages with ROOT= into an empty folder; yields that folder as a
layer with nothing below it. Build dependencies stay behind (R25).
"""

from __future__ import annotations

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.finish import Finish, finish
from stagewright.kinds.common.packages import TARGET, OwnRootStage, layer
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.installed import installed_packages


class Embedded(OwnRootStage, Finish, kind="embedded"):
    """A stage of kind ``embedded``. The script runs inside the new root, so the packages must bring what it needs."""

    def build(self, work: Work[PackageContext]) -> Built:
        """Merge the packages into a fresh folder."""
        if self.unmerge:
            raise StagewrightError(Reason.INVALID_VALUE, "unmerge: leave the packages out of `packages` instead")
        target, portage = self.rooms(work)
        portage.install(self.packages, target=TARGET)
        facts = finish(self, target, work, None)
        facts = facts.model_copy(update={"package_count": len(installed_packages(target.path))})
        return layer(target, work, portage, facts)
