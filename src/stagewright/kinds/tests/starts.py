"""starts: start the init of a root in a container and check what it does.

Input: any root. The result is console log and report. The root is not changed, and the container has no network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticCustomError

from stagewright import ids
from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.guest import GuestTest
from stagewright.kinds.common.tools import NSPAWN
from stagewright.kinds.common.work import Work
from stagewright.project.fields import RootRef
from stagewright.root import cgroup
from stagewright.root.root import Root
from stagewright.testing.container import start
from stagewright.testing.perform import Hold
from stagewright.testing.results import Report
from stagewright.testing.steps import Step


class StartTest(GuestTest, kind="starts", table="tests"):
    """A test with ``starts``."""

    required_tools = (NSPAWN,)
    key_tools = ("systemd-nspawn",)
    contained = True
    private_ids = False

    starts: RootRef
    """The stage or seed whose init is started: systemd or another one."""

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error if the user may not start containers."""
        if os.geteuid() != 0:
            yield StagewrightError(Reason.NOT_ROOT, "systemd-nspawn: only root can start it", hint="run as root")

    def _check_step(self, number: int, step: Step) -> None:
        super()._check_step(number, step)
        if step.needs_machine:
            facts = {"hint": "remove the step, or test an image with `boots`", "at": f"steps.{number}.{step.verb}"}
            raise PydanticCustomError("container", f"`{step.verb}`: a container cannot do it", facts)

    def run(self, work: Work[StageContext], folder: Path, hold: Hold | None = None) -> Report:
        """Start the init and perform the script."""
        root = self.shell_root(work)
        if owner := ids.owner():
            with Tree(root.path).descriptor("/", os.O_RDONLY | os.O_DIRECTORY) as opened:
                os.fchown(opened, owner.uid, owner.gid)  # the writable layer is new
        cgroup.enter(work.folder.name)
        name = work.node.id.rpartition(":")[2]
        return start(root.path, self.boot_script(work.files), folder, work.phase, name=name, files=work.files)

    def shell_root(self, work: Work[StageContext]) -> Root:
        """Return the root with a writable layer on top."""
        return work.mount("starts")
