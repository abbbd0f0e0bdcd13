"""The job that a worker process gets: a JSON file, so that the worker could also run on another machine.

A job is a node, its key, the keys of its inputs, and what the scheduler grants. The worker reads settings and context
by the kind's own models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event
from stagewright.graph.given import Given
from stagewright.graph.keys import Key
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.lineage import LineageEntry
from stagewright.kinds.common.work import Grant, Input, Work
from stagewright.kinds.registry import model_of
from stagewright.project.limits import Limits, NodeLimits
from stagewright.project.model import Project
from stagewright.store.store import Store

FILE_NAME = "job.json"


def limits_of(node: Node, project: Project, options: NodeLimits | None = None) -> Limits:
    """Return the limits of a node: those of the options, or else of its entry, or else of the project."""
    assert isinstance(node.settings, Stage)
    return (options or NodeLimits()).resolved(node.settings.limits, project.limits)


class Job(BaseModel):
    """One node to build. ``inputs`` are the results in the store by role: what each is, and its key.

    ``other_root`` is True if the node's own root is not built yet, and the input "root" is a root below it. Only
    workers that fetch sources accept that. Builds of the same ``project_folder`` share the packages that they make.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    project: str
    node: Node
    key: Key
    inputs: Mapping[str, tuple[Yields, str]]
    grant: Grant
    limits: Limits = Limits()
    store: Path
    log: Path
    lineage: tuple[LineageEntry, ...] = ()
    other_root: bool = False
    project_folder: Path | None = None
    ids: str = ""
    """Names the ids that own the files of the build's root (:func:`stagewright.ids.mark`).

    Empty for other jobs: they leave no root that ``stagewright shell`` could enter."""

    @field_validator("node", mode="before")
    @classmethod
    def _by_kind(cls, node: Any) -> Any:
        """Read settings and context by the models of the kind; a node that is not data is left alone."""
        if not isinstance(node, dict):
            return node
        node = dict(node)
        kind = model_of(node.get("kind", ""), node.pop("module", ""))
        if kind is None:
            raise ValueError(f"unknown kind {node.get('kind')!r}")
        models: dict[str, type[Given]] = {"settings": kind, "context": kind.context_model}
        read = {name: model.model_validate_json(json.dumps(node.get(name))) for name, model in models.items()}
        return {**node, **read}

    @property
    def stage(self) -> Stage:
        """The settings of the node, which are the model of its kind."""
        assert isinstance(self.node.settings, Stage)
        return self.node.settings

    def work(self, folder: Path, log: IO[str], emit: Callable[[Event], None], opened: Store | None = None) -> Work[Any]:
        """Return the work that this job is, in a work folder. ``opened`` is its store, if that is open already."""
        store = opened or Store(self.store)
        return Work(
            node=self.node,
            key=self.key,
            inputs={role: Input(yields, key, store.tree(yields, key)) for role, (yields, key) in self.inputs.items()},
            grant=self.grant,
            lineage=self.lineage,
            folder=folder,
            store=store,
            log=log,
            emit=emit,
            project_folder=self.project_folder,
        )

    def write(self, folder: Path) -> Path:
        """Write the job into its work folder, with sorted names: their order must not reach the result."""
        path = folder / FILE_NAME
        path.write_text(json.dumps(self.to_data(), indent=1, sort_keys=True), encoding="utf-8")
        return path

    def to_data(self) -> dict[str, Any]:
        """Return the job as JSON-able data, with the module of the kind: a worker imports no other one."""
        data = self.model_dump(mode="json")
        data["node"]["module"] = type(self.node.settings).__module__
        return data

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Return the job of a work folder. Raises: BUG if the file is not a job of this version."""
        path = folder / FILE_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise StagewrightError(
                Reason.BUG,
                f"{path}: not a job of this version of Stagewright",
                detail=str(error),
                hint="run stagewright build again; if that does not help, please report this",
            ) from error
