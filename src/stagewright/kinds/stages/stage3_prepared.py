"""stage3-root.prepared: every package of a system built, for the binary packages alone (R91).

Takes a root with Portage and a compiler; builds with ROOT= into a folder that never ships; yields that as a layer, for
the binary packages that are kept beside it. Made by stage3-root, not written by users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.packages import TARGET, OwnRootStage, layer
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import InstallRequest, Portage
from stagewright.portage.installed import installed_packages
from stagewright.project.fields import Atom, BinhostRef


class RootSettings(OwnRootStage):
    """What both nodes are told."""

    packages: list[Atom] = ["@system"]
    """What to install: atoms and @sets, as emerge(1) takes them."""
    binhosts: list[BinhostRef] | None = Field(default=[], max_length=0)
    """None: every package of such a stage is built here."""
    first: list[list[Atom]] = []
    """Groups of packages merged before all others, each without its dependencies, such as baselayout and libc."""

    def merge(self, portage: Portage, accounts: Sequence[Sequence[str]] = (), *, binary: bool = False) -> None:
        """Merge everything into the clean root: what must be first, then accounts, then all the rest."""
        for group in (*self.first, *accounts):
            portage.install(group, target=TARGET, options=["--oneshot", "--nodeps"], binary=binary)
        portage.install(self.packages, target=TARGET, binary=binary)

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """What :meth:`merge` installs."""
        for group in self.first:
            yield InstallRequest(group, TARGET, ["--oneshot", "--nodeps"])
        yield InstallRequest(self.packages, TARGET)


class Prepared(RootSettings, kind="stage3-root.prepared", table=""):
    """A node of kind ``stage3-root.prepared``."""

    def build(self, work: Work[PackageContext]) -> Built:
        """Build the packages."""
        target, portage = self.rooms(work)
        self.merge(portage)
        return layer(target, work, portage, LayerFacts(package_count=len(installed_packages(target.path))))
