"""project: a root that another project has built in the same store.

A seed selects it with ``project = "../other"`` and ``stage = "base"``. The lock pins the build by its key. Its layers
are shared, not copied. Later builds of the other project have no effect until ``stagewright update``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.graph.given import NotInKey
from stagewright.graph.node import NodeFiles, Yields
from stagewright.kinds.common.archived import PinnedSeed, SeedPin, Sha256, pin_of
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.registry import kinds
from stagewright.project.fields import ByValue
from stagewright.project.load import load
from stagewright.project.lock import Pin
from stagewright.project.model import FILE_NAME, Project
from stagewright.project.source import KeyPath
from stagewright.untrusted import is_file, real

_OTHER = "other"
"""Name of the other project's folder among the files of the node."""


class ProjectPin(SeedPin):
    """The build that the lock pins: its key, and the name of the other project."""

    key: Sha256
    project: str


class ProjectSeed(PinnedSeed, kind="project"):
    """A seed with ``project``."""

    pin_model = ProjectPin

    project: Annotated[str, Field(min_length=1), NotInKey()]
    """The folder of the other project: relative to this one, absolute, or below `~`."""
    stage: Annotated[str, NotInKey()]
    """The stage or seed of the other project. Its result must be a root."""
    arch: Annotated[Annotated[Arch, ByValue()] | None, NotInKey()] = Field(
        default=None, exclude_if=lambda arch: arch is None
    )
    """The architecture by Gentoo's name, such as `arm64`; default: this computer's."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the other project exists. `stagewright check` in its folder reports its errors."""
        folder = self._folder(project.folder)
        if not is_file(folder / FILE_NAME):
            what = f"project: {FILE_NAME} not found in {folder}"
            yield ("project",), StagewrightError(Reason.NO_PROJECT, what, hint="name the folder of another project")
        elif real(folder) == real(project.folder):
            what = "project: this is the folder of the same project"
            yield ("project",), StagewrightError(Reason.CYCLE, what, hint="write root = ... in the stage instead")

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the folder of the other project."""
        return NodeFiles(sources={_OTHER: self._folder(scope.project.folder)})

    def pin(self, work: Work[SeedContext]) -> Pin:
        """Look for the last build of the stage in the other project."""
        folder = work.files[_OTHER]
        other = load(folder, kinds())
        entry = other.entry(self.stage)
        if entry is None:
            names = [*other.entries["stages"], *other.entries["seeds"]]
            what = f"stage {self.stage!r} not found in {folder}"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=nearest(self.stage, names))
        if getattr(entry.model, "yields", None) is not Yields.LAYER:
            what = f"{self.stage} of {folder}: its result is not a root (kind {entry.kind})"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="name the stage that it is made of")
        name = other.info.name
        built = [key for key in work.store.former(other.records, entry.node_id) if work.store.has(Yields.LAYER, key)]
        if not built:
            raise _unbuilt(folder, self.stage)
        return {"project": name, "stage": self.stage, "key": built[-1]}

    def build(self, work: Work[SeedContext]) -> Built:
        """Return an empty layer on top of the layers of the pinned root."""
        pin = pin_of(work, ProjectPin)
        key = pin.key
        if not work.store.has(Yields.LAYER, key):
            raise _unbuilt(work.files[_OTHER], self.stage)
        below = work.store.meta(Yields.LAYER, key)
        facts = LayerFacts(archive={"project": pin.project, "stage": self.stage, "key": key})
        return Built(work.new_folder("tree"), facts, tuple(below.stack))

    def _folder(self, base: Path) -> Path:
        return base / Path(self.project).expanduser()


def _unbuilt(folder: Path, stage: str) -> StagewrightError:
    return StagewrightError(
        Reason.NOT_BUILT,
        f"{stage} of {folder}: no build in this store",
        hint=f"run stagewright -C {folder} build {stage} with this --store, then stagewright update here",
    )
