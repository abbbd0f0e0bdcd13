"""stage3: the complete system of a profile, with every package built again.

Input: a stage1 or stage2. The steps are ``emerge --emptytree @system``, depclean, and an empty world file. The result
is a layer. An installation by the Gentoo Handbook begins with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.layer import finish_layer
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.system import BinrepoSettings, empty_world, select_toolchain, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import packages_of

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage

OPTIONS = ("--emptytree", "--update", "--deep", "--with-bdeps=y")


class Stage3(PackageStage, BinrepoSettings, kind="stage3"):
    """A stage of kind ``stage3``. ``packages`` are installed in addition to the system set, and stay installed."""

    is_configured = False

    depclean: bool = True
    """Remove packages that the system does not need."""

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the system set; all its dependencies are built again."""
        yield FetchRequest(["@system", *self.packages], options=OPTIONS)

    def build(self, work: Work[PackageContext]) -> Built:
        """Build the system set."""
        root, portage = self.mount_with_portage(work)
        portage.install(["@system", *self.packages], options=OPTIONS)
        if self.depclean:
            portage.depclean()
        select_toolchain(root, work)
        if not self.packages:
            empty_world(root, work)
        ship_configuration(self, root, portage, work)
        facts = LayerFacts(toolchain=work.key.digest, package_count=len(packages_of(root.path)))
        return finish_layer(root, work, portage, facts)
