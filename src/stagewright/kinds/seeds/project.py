"""project: a root that another project has built in the same store, taken as it is.

Written as ``project = "../other"`` with ``stage = "base"``. The lock pins which of its builds that is, by key; the
layers are shared, not copied. Later builds of the other project change nothing here until ``stagewright update``.
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
from stagewright.kinds.common.archived import PinnedSeed, SeedPin, pin_of
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

_OTHER = "other"
"""Name of the other project's folder among the files of the node."""


class ProjectPin(SeedPin):
    """The build that the lock pins: its key, and the name of the other project."""

    key: str
    project: str


class SeedProject(PinnedSeed, kind="project"):
    """A seed with ``project``."""

    pin_model = ProjectPin

    project: Annotated[str, Field(min_length=1), NotInKey()]
    """The folder of the other project, relative to this one or absolute; `~` is the home of who builds."""
    stage: Annotated[str, NotInKey()]
    """The stage or seed of the other project: one that leaves a root."""
    arch: Annotated[Annotated[Arch, ByValue()] | None, NotInKey()] = Field(
        default=None, exclude_if=lambda arch: arch is None
    )
    """The architecture by Gentoo's name, such as `arm64`; default: this computer's."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """See that the other project is there; what is wrong inside it is for its own `stagewright check`."""
        folder = self._folder(project.folder)
        if not (folder / FILE_NAME).is_file():
            what = f"project: there is no {FILE_NAME} in {folder}"
            yield ("project",), StagewrightError(Reason.NO_PROJECT, what, hint="name the folder of another project")
        elif folder.resolve() == project.folder.resolve():
            what = "project: that is this project itself"
            yield ("project",), StagewrightError(Reason.CYCLE, what, hint="write root = ... in the stage instead")

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the folder of the other project."""
        return NodeFiles(sources={_OTHER: self._folder(scope.project.folder)})

    def pin(self, work: Work[SeedContext]) -> Pin:
        """Look for the last build of the other project's stage."""
        folder = work.files[_OTHER]
        other = load(folder, kinds())
        entry = other.entry(self.stage)
        if entry is None:
            names = [*other.entries["stages"], *other.entries["seeds"]]
            what = f"{folder} has no stage called {self.stage!r}"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=nearest(self.stage, names))
        if getattr(entry.model, "yields", None) is not Yields.LAYER:
            what = f"{self.stage} of {folder} is of kind {entry.kind}, which leaves files, and no root"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="name the stage that it is made of")
        name = other.info.name
        built = [key for key in work.store.former(name, entry.node_id) if work.store.has(Yields.LAYER, key)]
        if not built:
            raise _unbuilt(folder, self.stage)
        return {"project": name, "stage": self.stage, "key": built[-1]}

    def build(self, work: Work[SeedContext]) -> Built:
        """Lay an empty layer on those of the root that is pinned."""
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
        f"no build of {stage} of {folder} is in this store",
        hint=f"stagewright -C {folder} build {stage}, with the same --store; then stagewright update here",
    )
