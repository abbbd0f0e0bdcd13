"""starts: start the init of a root in a container and see that it does what it should (R2).

Takes any root; yields what it said: console log and a report. The root stays as it is, and the network stays outside.
"""

from __future__ import annotations

from typing import Any

from stagewright.graph.node import Node, Yields
from stagewright.project.fields import AnyRef
from stagewright.root import cgroup
from stagewright.root.root import Root
from stagewright.stages.base import Built, Scope, Stage, Work
from stagewright.stages.guest_test import EVIDENCE, GuestTest
from stagewright.stages.tools import NSPAWN
from stagewright.vm.container import start


class StartTest(GuestTest, kind="starts", table="tests"):
    """A test with ``starts``."""

    needs = (NSPAWN,)
    traces = ("systemd-nspawn",)
    contained = True

    starts: AnyRef
    """The stage or seed whose init is started, systemd or another one."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node, if there is a root to start."""
        model = scope.entry(self.starts).model
        if not isinstance(model, Stage) or model.yields is not Yields.LAYER:
            raise self.unfit(node_id, scope, "starts", "is of a kind that leaves files, and no root to start")
        return super().node(node_id, scope, **context)

    def build(self, work: Work) -> Built:
        """Start it; the report is kept when the test passes, and shown when it does not."""
        root = self.open(work)
        cgroup.enter(work.folder.name)
        folder = work.new_folder(EVIDENCE)
        return self.kept(start(root.path, self.script(), folder, work.phase), folder, work)

    def open(self, work: Work) -> Root:
        """The root with a layer on top that is thrown away."""
        return work.mount("starts")
