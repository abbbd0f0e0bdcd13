"""stage3: the whole system of a profile, every package of it built again (R4).

Takes a stage1 or stage2; ``emerge --emptytree @system``, depclean, an empty world; yields a layer. A user may stop
here, and a Handbook installation begins here.
"""

from __future__ import annotations

from collections.abc import Iterator

from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.packages import PackageStage, layer
from stagewright.kinds.common.system import Shipped, empty_world, select_toolchain, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import InstallRequest, Portage
from stagewright.portage.installed import installed_packages

OPTIONS = ("--emptytree", "--update", "--deep", "--with-bdeps=y")


class Stage3(PackageStage, Shipped, kind="stage3"):
    """A stage of kind ``stage3``. ``packages`` are merged besides the system set, and stay."""

    depclean: bool = True
    """Remove what the system does not need."""

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """The system set and everything below it."""
        yield InstallRequest(["@system", *self.packages], options=OPTIONS)

    def build(self, work: Work[PackageContext]) -> Built:
        """Build the system set."""
        root, portage = self.portage(work)
        portage.install(["@system", *self.packages], options=OPTIONS)
        if self.depclean:
            portage.depclean()
        select_toolchain(root, work)
        if not self.packages:
            empty_world(root, work)
        ship_configuration(self, root, portage, work)
        facts = LayerFacts(toolchain=work.key.digest, package_count=len(installed_packages(root.path)))
        return layer(root, work, portage, facts)
