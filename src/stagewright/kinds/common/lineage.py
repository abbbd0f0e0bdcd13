"""Lineage: the description of a node and of every node below it, for manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from stagewright.kinds.common.facts import BinhostPackages


class LineageEntry(BaseModel):
    """One node of a lineage. ``inputs`` are ids by role; ``repositories`` and ``files`` are digests by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    kind: str
    key: str
    inputs: Mapping[str, str]
    repositories: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    pin: Mapping[str, Any] | None = None
    archive: Mapping[str, str | int] | None = None
    binhosts: Mapping[str, BinhostPackages] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-able data, without optional fields that are empty."""
        data = self.model_dump(mode="json")
        return {name: value for name, value in data.items() if value or name == "inputs"}
