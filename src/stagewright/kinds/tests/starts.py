"""starts: start the init of a root in a container and see that it does what it should (R2).

Takes any root; yields what it said: console log and a report. The root stays as it is, and the network stays outside.
"""

from __future__ import annotations

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

    starts: RootRef
    """The stage or seed whose init is started, systemd or another one."""

    def build(self, work: Work[StageContext]) -> Built:
        """Start it; the report is kept when the test passes, and shown when it does not."""
        root = self.open(work)
        cgroup.enter(work.folder.name)
        folder = work.new_folder(TEST_ARTIFACTS)
        return self.kept(start(root.path, self.script(), folder, work.phase), folder, work)

    def open(self, work: Work[StageContext]) -> Root:
        """The root with a layer on top that is thrown away."""
        return work.mount("starts")
