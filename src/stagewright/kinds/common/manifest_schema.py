"""The JSON schema of manifests, made from the models of their parts (layout: ``release/manifest.py``)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stagewright.kinds.common.context import ProjectVersion
from stagewright.kinds.common.lineage import LineageEntry
from stagewright.portage.installed import Package
from stagewright.release.artifact_digests import FileDigests
from stagewright.release.manifest import FORMAT
from stagewright.release.origin import Origin

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class ManifestChannel(BaseModel):
    """The channel of an artifact that must not be given to others."""

    name: str
    distributable: Literal[False]


class ManifestProject(ProjectVersion):
    """The project that made the artifact."""

    model_config = ConfigDict(extra="allow")

    source_date_epoch: int = Field(description="The time stamp of all files, in seconds since 1970.")


class Manifest(BaseModel):
    """Everything that an artifact is made of. Kinds can add keys; programs ignore keys that they do not know."""

    model_config = ConfigDict(extra="allow")

    format: Literal[1] = Field(description="The version of this format.")
    artifact: FileDigests = Field(description="The file, its size in bytes, and its digests.")
    contents: FileDigests | None = Field(default=None, description="The same for CONTENTS.gz, if it exists.")
    channel: ManifestChannel | None = Field(default=None, description="A channel that keeps the artifact from others.")
    project: ManifestProject
    stage: str = Field(description="The id of the node that made the artifact.")
    key: str = Field(description="The key of that node.", pattern="^[0-9a-f]{64}$")
    lineage: list[LineageEntry] = Field(description="All nodes that it depends on, and its own; inputs first.")
    payload: dict[str, Any] | None = Field(default=None, description="Kernels, firmware and loaders of live media.")
    packages: list[Package] = Field(description="The packages of Portage in the root.")
    origin: Origin | None = Field(default=None, description="What another build needs; only in out/ and releases.")


def manifest_schema() -> dict[str, Any]:
    """Return the JSON schema of ``*.manifest.json``."""
    shape = Manifest.model_json_schema()
    return {
        "$schema": DIALECT,
        "$id": f"urn:stagewright:manifest:{FORMAT}",
        **shape,
        "title": "Manifest of an artifact",
    }
