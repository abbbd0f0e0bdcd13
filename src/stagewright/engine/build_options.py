"""The options of a build, apart from the code that builds: a plan needs none of it."""

from __future__ import annotations

from dataclasses import field

from stagewright.engine.farm.options import FarmOptions
from stagewright.engine.resources import Resources
from stagewright.lazy_dataclass import dataclass
from stagewright.project.limits import NodeLimits


@dataclass(frozen=True)
class BuildOptions:
    """How a build is done.

    ``cores``, ``memory`` (MiB) and ``jobs`` limit what its nodes use together, and how many are built at a time; the
    defaults are all cores, nine tenths of the free memory, and as many nodes as fit. ``keep_going`` builds everything
    that does not depend on a failed node. ``locked`` makes the build fail where a pin is missing. ``verify`` reads all
    results first that the build takes from the store. ``limits`` of single nodes replace those of the project and of
    its stages. ``pull`` takes results from the remotes of the project. ``push`` gives its results to all of
    them (True), to none (False), or to those that the project names (None).
    ``farm`` are the machines that build it; None for this machine.
    """

    cores: int | None = None
    memory: int | None = None
    jobs: int | None = None
    keep_going: bool = False
    locked: bool = False
    verify: bool = False
    pull: bool = True
    push: bool | None = None
    limits: NodeLimits = field(default_factory=NodeLimits)
    farm: FarmOptions | None = None

    @property
    def resources(self) -> Resources:
        """The resources of this machine within these limits."""
        return Resources.of_machine().limited(self.cores, self.memory, self.jobs)
