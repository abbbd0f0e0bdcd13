"""stage2: the toolchain built again by itself, in the root of a stage1.

Input: a stage1. Stagewright runs ``scripts/bootstrap.sh`` of the main repository. Without that script, Portage installs
the profile's ``packages.build`` with ``USE="-* bootstrap"``. The result is a layer.
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
from stagewright.portage.emerge import Stage1Packages
from stagewright.portage.emerge_output import EmergeOutput
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.repositories import main_repository

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

OPTIONS = ("--oneshot",)
"""Options of emerge(1) for all packages."""


class Stage2(PackageStage, BinrepoSettings, kind="stage2"):
    """A stage of kind ``stage2``. ``packages`` are installed in addition to those of the bootstrap."""

    is_configured = False

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the packages of the profile's bootstrap, and those of the stage."""
        wanted = portage.stage1_packages()
        yield FetchRequest(wanted.packages, options=OPTIONS, use=_use(wanted))
        yield FetchRequest(self.packages, options=OPTIONS)

    def build(self, work: Work[PackageContext]) -> Built:
        """Build the toolchain again."""
        root, portage = self.mount_with_portage(work)
        script = self._script(portage)
        if script:
            self._bootstrap(root, portage, script, work)
        else:
            wanted = portage.stage1_packages()
            options = [*OPTIONS, "--jobs=1"]  # each package is built by those before it
            portage.install(wanted.packages, options=options, use=_use(wanted))
        portage.install(self.packages, options=OPTIONS)
        select_toolchain(root, work)
        empty_world(root, work)
        ship_configuration(self, root, portage, work)
        return finish_layer(root, work, portage, LayerFacts(toolchain=work.key.digest))

    def _script(self, portage: Portage) -> str | None:
        main = main_repository(portage.repos)
        if main and (main.path / "scripts" / "bootstrap.sh").exists():
            return f"{main.location}/scripts/bootstrap.sh"
        return None

    def _bootstrap(self, root: Root, portage: Portage, script: str, work: Work[PackageContext]) -> None:
        work.phase("fetch")
        output = EmergeOutput()
        words = ("bash", script, "-f")
        binds, env = portage.fetch_only_binds, portage.environment
        try:
            root.run(*words, network=True, binds=binds, env=env, on_line=output.read)
        finally:
            portage.take_fetched(output)
        work.phase("bootstrap")
        root.run("bash", script, "-v", env=portage.environment)


def _use(wanted: Stage1Packages) -> str:
    return f"-* bootstrap {wanted.bootstrap_use}"
