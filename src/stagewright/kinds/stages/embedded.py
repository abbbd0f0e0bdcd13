"""embedded: packages in a clean root, without any file of the system that built them.

Input: a root with Portage and a compiler. Portage installs packages with ROOT= into an empty folder. The result is that
folder, as a layer without layers below. Build dependencies are not installed into it. A kernel is a package that is
installed first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.modules import KernelSettings, check_kernel
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.finish import Finish, finish
from stagewright.kinds.common.packages import TARGET, OwnRootStage
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import packages_of
from stagewright.project.model import Project
from stagewright.project.source import KeyPath

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage


class Embedded(OwnRootStage, Finish, kind="embedded"):
    """A stage of kind ``embedded``. The script runs inside the new root, and can use only programs that are there."""

    kernel: KernelSettings | None = Field(default=None, exclude_if=lambda value: value is None)
    """The kernel of the new root. Modules in `packages` must be built for it; `rebuild_modules` has no effect."""

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the kernel and the packages, for the new root."""
        yield FetchRequest([*self._kernel_packages, *self.packages], target=TARGET)

    @property
    def _kernel_packages(self) -> list[str]:
        return [self.kernel.package] if self.kernel and self.kernel.package else []

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Refuse ``unmerge``, and check what all stages with packages check."""
        yield from super().check(project)
        if self.unmerge:
            what = "unmerge: not supported by kind embedded"
            hint = "remove `unmerge`, and remove the packages from `packages`"
            yield ("unmerge",), StagewrightError(Reason.INVALID_VALUE, what, hint=hint)

    def build(self, work: Work[PackageContext]) -> Built:
        """Install the packages into an empty folder."""
        from stagewright.kinds.common.layer import finish_layer

        target, portage = self.new_root(work)
        if self._kernel_packages:
            portage.install(self._kernel_packages, target=TARGET)
        portage.install(self.packages, target=TARGET)
        if self.kernel:
            work.notice(f"kernel {check_kernel(self.kernel, target)}")
        facts = finish(self, target, work, None)
        facts = facts.model_copy(update={"package_count": len(packages_of(target.path))})
        return finish_layer(target, work, portage, facts)
