"""project: a root that another project has built in the same store, taken as it is.

Written as ``project = "../other"`` with ``stage = "base"``. The lock pins which of its builds that is, by key; the
layers are shared, not copied. Later builds of the other project change nothing here until ``stagewright update``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.archived import pin_of
from stagewright.kinds.common.base import Built, Scope, Seed, Work
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.lock import Pin
from stagewright.project.model import FILE_NAME, Project
from stagewright.project.source import KeyPath


class SeedProject(Seed, kind="project"):
    """A seed with ``project``."""

    moves = True
    sources = frozenset({"project", "stage", "arch"})

    project: Annotated[str, Field(min_length=1)]
    """The folder of the other project, relative to this one or absolute; `~` is the home of who builds."""
    stage: str
    """The stage or seed of the other project: one that leaves a root."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """See that the other project is there; what is wrong inside it is for its own `stagewright check`."""
        folder = self._folder(project.folder)
        if not (folder / FILE_NAME).is_file():
            what = f"project: there is no {FILE_NAME} in {folder}"
            yield ("project",), StagewrightError(Reason.NO_PROJECT, what, hint="name the folder of another project")
        elif folder.resolve() == project.folder.resolve():
            what = "project: that is this project itself"
            yield ("project",), StagewrightError(Reason.CYCLE, what, hint="write root = ... in the stage instead")

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node; its key is that of what it takes. The folder of this project is known to pinning alone."""
        pin = scope.project.lock.seeds.get(node_id.removeprefix("seed:"), {})
        pinned = {name: pin[name] for name in ("key", "project") if name in pin} or None
        found = super().node(node_id, scope, pin=pinned, **context)
        files = {"other": self._folder(scope.project.folder)}
        return replace(found, aside_files=files)

    def pin(self, work: Work) -> Pin:
        """Look for the last build of the other project's stage."""
        folder = work.files["other"]
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
        node = f"seed:{self.stage}" if entry.table == "seeds" else self.stage
        built = [key for key in work.store.former(name, node) if work.store.has(Yields.LAYER, key)]
        if not built:
            raise _unbuilt(folder, self.stage)
        return {"project": name, "stage": self.stage, "key": built[-1]}

    def build(self, work: Work) -> Built:
        """Lay an empty layer on those of the root that is pinned."""
        pin = pin_of(work, "key", "project")
        key = pin["key"]
        if not work.store.has(Yields.LAYER, key):
            raise _unbuilt(work.files["other"], self.stage)
        below = work.store.meta(Yields.LAYER, key)
        facts = {"archive": {"project": pin["project"], "stage": self.stage, "key": key}}
        return Built(work.new_folder("tree"), tuple(below.stack), facts)

    def _folder(self, base: Path) -> Path:
        return base / Path(self.project).expanduser()


def _unbuilt(folder: Path, stage: str) -> StagewrightError:
    return StagewrightError(
        Reason.NOT_BUILT,
        f"no build of {stage} of {folder} is in this store",
        hint=f"stagewright -C {folder} build {stage}, with the same --store; then stagewright update here",
    )
