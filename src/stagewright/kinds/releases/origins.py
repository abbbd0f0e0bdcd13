"""Provenance of the artifacts of a release: the files of the project that they are made of, and how they were made.

A release has one statement for each artifact (release/provenance.py): ``<file>.provenance.json`` next to the file, or
``<folder>/<folder>.provenance.json`` in a folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stagewright.graph.node import Graph
from stagewright.kinds.common.context import ReleasedContext
from stagewright.kinds.common.work import Work
from stagewright.project.model import FILE_NAME, Project
from stagewright.project.overrides import LOCAL
from stagewright.release.manifest import SUFFIX as MANIFEST
from stagewright.release.manifest import read_manifest
from stagewright.release.provenance import SUFFIX, Making


def provenance_name(file: str, folder: str) -> str:
    """Return the path of the statement about an artifact in a release. ``file`` is "" for a folder."""
    return f"{file}.{SUFFIX}" if file else f"{folder}/{folder}.{SUFFIX}"


def files_read(project: Project, graph: Graph, nodes: Iterable[str]) -> list[Path]:
    """Return all files and folders of the project that these nodes and the nodes below them are made of.

    Values of the file of a single user are recorded apart (:attr:`stagewright.release.origin.Origin.given`).
    """
    places = [*(entry.place().file for entry in project.all_entries()), *(p.file for p in project.repo_places.values())]
    found = [project.folder / FILE_NAME, *project.folder.glob("*.toml"), *(project.folder / file for file in places)]
    for name in graph.closure(name for name in nodes if name in graph.nodes):
        files = graph.nodes[name].files
        found += [*files.settings.values(), *files.repos.values(), *files.binhost_keys.values()]
    return sorted(dict.fromkeys(path for path in found if path not in (project.folder, project.folder / LOCAL)))


def making_of(work: Work[ReleasedContext], role: str) -> Making:
    """Return how an input of a release was made."""
    meta = work.meta(role)
    entries = {entry.id: entry.to_dict() for entry in work.lineage}
    wanted, waiting = {""}, [work.node.inputs[role]]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting += entries[node]["inputs"].values()
    archives = _archives(work.artifact(role))
    return Making(
        project={**work.context.project.model_dump(), "source_date_epoch": work.epoch},
        stage=work.node.inputs[role],
        key=meta.key,
        code=str(meta.data["code"]),
        lineage=[archives.get(one["key"], {}) | one for name, one in entries.items() if name in wanted],
    )


def _archives(tree: Path) -> dict[str, dict[str, Any]]:
    """Return the archives of seeds in the manifest of an artifact, by key. The store can lack the seeds themselves."""
    found: Iterator[Mapping[str, Any]] = (
        entry for path in sorted(tree.glob(f"*.{MANIFEST}")) for entry in read_manifest(path)["lineage"]
    )
    return {entry["key"]: {"archive": entry["archive"]} for entry in found if "archive" in entry}
