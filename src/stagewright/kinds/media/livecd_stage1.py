"""livecd-stage1: a root prepared to run as a live system.

Input: any root. The stage installs packages, copies overlay folders, runs a script, and removes packages and files. The
result is a layer. The squashfs is a separate node, because it also needs the kernel modules of a livecd-stage2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.finish import Finish, finish
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.fetch_request import FetchRequest

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage

OPTIONS = ("--newuse", "--deep", "--update")
"""Options of emerge(1) for the packages."""


class LiveStage1(PackageStage, Finish, kind="livecd-stage1"):
    """A stage of kind ``livecd-stage1``."""

    keeps_changed_etc = True

    @property
    def changes_packages(self) -> bool:
        """True if a setting needs emerge(1): packages or unmerge."""
        return bool(self.packages or self.unmerge)

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the packages of the stage."""
        yield FetchRequest(self.packages, options=OPTIONS)

    def build(self, work: Work[PackageContext]) -> Built:
        """Change the root, and return the changes as a layer."""
        from stagewright.kinds.common.layer import finish_layer

        root, portage = self.mount_with_portage(work)
        portage.install(self.packages, options=OPTIONS)
        facts = finish(self, root, work, portage)
        return finish_layer(root, work, portage, facts)
