"""The environment in which a stage makes its kernels: its own root, with the stage's settings of Portage."""

from __future__ import annotations

from stagewright.kernel.choose import KernelEnvironment
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Work
from stagewright.portage.emerge import Portage
from stagewright.root.root import Root


def kernel_environment(
    stage: PackageStage, root: Root, portage: Portage, work: Work[StageContext]
) -> KernelEnvironment:
    """Return the environment in which a stage makes kernels."""
    return KernelEnvironment(
        root=root,
        portage=portage,
        name=repr(stage.root),
        files=work.files,
        cores=work.cores,
        epoch=work.epoch,
        ccache=stage.ccache,
        on_phase=work.phase,
        on_notice=work.notice,
    )
