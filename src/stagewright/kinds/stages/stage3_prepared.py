"""stage3-root.prepared: all packages of a system, built to get their binary packages.

Input: a root with Portage and a compiler. Portage builds with ROOT= into a folder that is never shipped. The result is
that folder as a layer, with its binary packages. Stages of kind stage3-root add this node to the graph. A project file
cannot have a stage of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from stagewright.kinds.common.base import INTERNAL
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.layer import finish_layer
from stagewright.kinds.common.packages import TARGET, OwnRootStage
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import packages_of
from stagewright.project.fields import Atom, BinhostRef

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage

GROUP_OPTIONS = ("--oneshot", "--nodeps")
"""Options of emerge(1) for a group of packages that is installed before all others."""


class RootSettings(OwnRootStage):
    """Settings of both nodes of a stage3-root."""

    is_configured = False

    packages: list[Atom] = ["@system"]
    """Packages to install: atoms and @sets, as emerge(1) takes them."""
    binhosts: list[BinhostRef] | None = Field(default=[], max_length=0)
    """Must be empty: all packages of this stage are built on this computer."""
    first: list[list[Atom]] = []
    """Groups of packages to install before all others, without dependencies, such as baselayout and libc."""

    def merge(self, portage: Portage, accounts: Sequence[Sequence[str]] = (), *, binary: bool = False) -> None:
        """Install everything into the new root: the first groups, then accounts, then all other packages."""
        for group in (*self.first, *accounts):
            portage.install(group, target=TARGET, options=GROUP_OPTIONS, binary=binary)
        portage.install(self.packages, target=TARGET, binary=binary)

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the groups of ``first`` and the packages, as :meth:`merge` installs them."""
        for group in self.first:
            yield FetchRequest(group, TARGET, GROUP_OPTIONS)
        yield FetchRequest(self.packages, TARGET)


class PreparedRoot(RootSettings, kind="stage3-root.prepared", table=INTERNAL):
    """A node of kind ``stage3-root.prepared``."""

    def build(self, work: Work[PackageContext]) -> Built:
        """Build the packages."""
        target, portage = self.new_root(work)
        self.merge(portage)
        return finish_layer(target, work, portage, LayerFacts(package_count=len(packages_of(target.path))))
