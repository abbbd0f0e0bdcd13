"""Texts between the machine of a user and the machines of a farm: JSON, and nothing else goes over the wire.

A request is a job with the archives of its files. The reply is the last event of the node with the metadata of its
result, or the reason why the machine did not begin. Messages are events and parts of the log, while the node is built.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from stagewright.engine.farm.files import PackedFile
from stagewright.engine.job import Job
from stagewright.events import Event, NodeFinished
from stagewright.store.meta import Meta

LOG = "log"
EVENT = "event"
BEGUN = "begun"

PART = 64 << 10
"""The most bytes of a log in one message."""


@dataclass(frozen=True)
class BuildRequest:
    """A node to build. ``topic`` and ``attempt`` are the address of messages; ``owner`` names user and computer."""

    job: Mapping[str, Any]
    files: Mapping[str, PackedFile]
    topic: str
    attempt: str
    owner: str

    @classmethod
    def of(cls, job: Job, files: Mapping[str, PackedFile], topic: str, attempt: str, owner: str) -> BuildRequest:
        """Return the request for a job."""
        return cls(job.to_data(), files, topic, attempt, owner)

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """Return the request of :meth:`to_json`."""
        data = json.loads(text)
        data["files"] = {path: PackedFile(**packed) for path, packed in data["files"].items()}
        return cls(**data)

    def placed(self, store: Path, log: Path, files: Mapping[str, Path], cores: int, memory: int, ids: str) -> Job:
        """Return the job as this machine carries it out."""
        data = dict(self.job)
        node = dict(data["node"])
        node["files"] = {
            group: {name: str(files.get(path, path)) for name, path in named.items()}
            for group, named in node["files"].items()
        }
        grant = {"cores": min(data["grant"]["cores"], cores), "memory": min(data["grant"]["memory"], memory)}
        mark = Path("/") / self.owner.replace("/", "_") / (data["project_folder"] or "").lstrip("/")
        changed = {"store": str(store), "log": str(log), "grant": grant, "ids": ids, "project_folder": str(mark)}
        return Job.model_validate_json(json.dumps({**data, **changed, "node": node}))


@dataclass(frozen=True)
class BuildReply:
    """How an attempt ended. ``refused`` is why the machine did not begin; another one may.

    ``meta`` is that of the result. ``here`` is True if the result was there already. ``log`` is the path of the log on
    the machine, ``folder`` that of the root that a failed build left there.
    """

    finished: NodeFinished | None = None
    meta: Mapping[str, Any] | None = None
    refused: str = ""
    cached: bool = False
    log: str = ""
    root: str = ""

    def to_json(self) -> str:
        """Return the reply as JSON."""
        data = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        data["finished"] = self.finished.to_json() if self.finished else None
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> BuildReply:
        """Return the reply of :meth:`to_json`. Raises ValueError for other texts."""
        data = json.loads(text)
        if data["finished"]:
            event = Event.from_json(data["finished"])
            if not isinstance(event, NodeFinished):
                raise ValueError(f"not the end of a node: {text[:200]}")
            data["finished"] = event
        return cls(**data)

    def result(self) -> Meta | None:
        """Return the metadata of the result; None if there is none."""
        return Meta(**self.meta) if self.meta else None


@dataclass(frozen=True)
class Message:
    """Something that a machine says while it builds: an event, a part of the log, or that it has begun."""

    attempt: str
    kind: str
    text: str = ""

    def to_data(self) -> dict[str, str]:
        """Return the message as data for Dask."""
        return dataclasses.asdict(self)

    @classmethod
    def from_data(cls, data: object) -> Self | None:
        """Return the message of :meth:`to_data`; None for other data."""
        if not isinstance(data, dict):
            return None
        attempt, kind, text = (data.get(name) for name in ("attempt", "kind", "text"))  # Dask adds the worker
        if isinstance(attempt, str) and isinstance(kind, str) and isinstance(text, str):
            return cls(attempt, kind, text)
        return None
