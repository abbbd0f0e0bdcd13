"""The origin of an artifact: what a manifest needs so that the artifact can be built again from it alone.

Manifests in the store depend only on the key of their artifact. Manifests for users, in the output folder and in
releases, also have the entry ``origin``::

    target    the name of the stage in the project
    builder   the version of Stagewright
    source    the commit of the project: url, commit, folder in the repository, changed; null without git
    lock      the pins and the time stamp of the project, as the text of a stagewright.lock
    given     values of variables and of the version that are not from the project's own files, by name
    tools     the versions of this machine's programs that change the result, by name
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import stagewright
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.release.manifest import read_manifest
from stagewright.release.project_source import ProjectSource
from stagewright.store.durable import write_atomically
from stagewright.store.store import Store

ENTRY = "origin"


class Origin(BaseModel):
    """The origin of an artifact, as its manifest has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: str
    builder: str = stagewright.__version__
    source: ProjectSource | None = None
    lock: str = ""
    given: Mapping[str, str] = {}
    tools: Mapping[str, str] = {}


def origin_of(manifest: Mapping[str, Any], path: Path) -> Origin:
    """Return the origin in a manifest that was read from a path. Raises: FORMAT if it has none."""
    try:
        return Origin.model_validate(manifest.get(ENTRY))
    except ValidationError as error:
        message = f"{path}: the manifest does not say where the artifact comes from"
        hint = "use the manifest in out/ of a project or in a release, made by this version of Stagewright"
        raise StagewrightError(Reason.FORMAT, message, hint=hint) from error


def write_with_origin(manifest: Path, target: Path, origin: Origin, store: Store) -> None:
    """Write a copy of a manifest of the store with its origin. ``target`` is replaced if its content differs."""
    data = read_manifest(manifest)
    keys = [entry["key"] for entry in data.get("lineage", ())]
    filled = origin.model_copy(update={"tools": tools_of(store, keys)})
    text = json.dumps({**data, ENTRY: filled.model_dump(mode="json")}, indent=1, ensure_ascii=False) + "\n"
    if target.is_symlink() or not target.is_file() or target.read_text(encoding="utf-8") != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text)


def tools_of(store: Store, keys: Iterable[str]) -> dict[str, str]:
    """Return the versions of programs in the keys of results, by name; of results that are in the store."""
    found: dict[str, str] = {}
    for key in keys:
        for yields in Yields:
            if store.is_complete(yields, key):
                found |= {name: str(version) for name, version in store.meta(yields, key).data.get("tools", {}).items()}
    return dict(sorted(found.items()))
