"""The job that a worker process gets: plain data in a file, so that it could as well run on another machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stagewright.graph.keys import Key, KeyData
from stagewright.graph.node import Node, Yields

FILE_NAME = "job.json"


@dataclass(frozen=True)
class Job:
    """One node to build: what it is, where its inputs lie, and what it may use."""

    project: str
    node: str
    kind: str
    yields: str
    options: Mapping[str, Any]
    context: Mapping[str, Any]
    refs: Mapping[str, str]
    inputs: Mapping[str, tuple[str, str]]  # role -> what it yields, key
    files: Mapping[str, str]
    key: str
    data: KeyData
    store: str
    log: str
    cores: int
    memory: int  # MiB
    lineage: Sequence[Mapping[str, Any]] = ()
    hints: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        project: str,
        node: Node,
        key: Key,
        inputs: Mapping[str, tuple[Yields, str]],
        store: Path,
        log: Path,
        cores: int,
        memory: int,
        lineage: Sequence[Mapping[str, Any]] = (),
    ) -> Job:
        """The job for a node whose inputs are in the store under these keys."""
        return cls(
            project=project,
            node=node.id,
            kind=node.kind,
            yields=node.yields.value,
            options={**node.options, **node.asides},
            context=dict(node.context),
            refs=dict(node.refs),
            inputs={role: (yields.value, digest) for role, (yields, digest) in inputs.items()},
            files={name: str(path) for name, path in {**node.files, **node.aside_files}.items()},
            key=key.digest,
            data=key.data,
            store=str(store),
            log=str(log),
            cores=cores,
            memory=memory,
            lineage=lineage,
            hints=dict(node.hints),
        )

    def write(self, folder: Path) -> Path:
        """Write the job into its work folder."""
        path = folder / FILE_NAME
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job of a work folder."""
        return cls(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
