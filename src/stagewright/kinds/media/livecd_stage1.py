"""livecd-stage1: make a root ready to run as a live system (R19).

Takes any root (R17); adds packages, overlay folders, a script, and removes what is not to be shipped; yields a layer.
The squashfs is made elsewhere, because it also needs the modules of the kernel that livecd-stage2 builds (R31).
"""

from __future__ import annotations

from collections.abc import Iterator

from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.finish import Finish, finish
from stagewright.kinds.common.packages import PackageStage, layer
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import InstallRequest, Portage

OPTIONS = ("--newuse", "--deep", "--update")


class LiveStage1(PackageStage, Finish, kind="livecd-stage1"):
    """A stage of kind ``livecd-stage1``."""

    protects = True

    @property
    def uses_portage(self) -> bool:
        """Only to install or remove packages; a root without Portage is fine otherwise."""
        return bool(self.packages or self.unmerge)

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """The packages, and what they need in their newest versions."""
        yield InstallRequest(self.packages, options=OPTIONS)

    def build(self, work: Work[PackageContext]) -> Built:
        """Change the root, keep the changes as a layer."""
        root, portage = self.portage(work)
        portage.install(self.packages, options=OPTIONS)
        facts = finish(self, root, work, portage)
        return layer(root, work, portage, facts)
