"""starts: start the init of a root in a container and check what it does.

Input: any root. The result is console log and report. The root is not changed, and the container has no network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from stagewright import ids
from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.guest import TEST_ARTIFACTS, GuestTest
from stagewright.kinds.common.tools import NSPAWN
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import RootRef
from stagewright.root import cgroup
from stagewright.root.root import Root
from stagewright.vm.container import start


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

    def build(self, work: Work[StageContext]) -> Built:
        """Start the init. The error of a failed test contains the report."""
        root = self.shell_root(work)
        if owner := ids.owner():
            with Tree(root.path).descriptor("/", os.O_RDONLY | os.O_DIRECTORY) as folder:
                os.fchown(folder, owner.uid, owner.gid)  # the writable layer is new
        cgroup.enter(work.folder.name)
        results = work.new_folder(TEST_ARTIFACTS)
        return self.collected(start(root.path, self.script(), results, work.phase), results, work)

    def shell_root(self, work: Work[StageContext]) -> Root:
        """Return the root with a writable layer on top."""
        return work.mount("starts")
