"""Files that go with an artifact for people: digests, and the manifest of all that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stagewright.graph.node import Yields
from stagewright.kinds.common.context import ReleasedContext
from stagewright.kinds.common.work import Work
from stagewright.portage.installed import Package, packages_of
from stagewright.release.artifact_digests import FileDigests, write_digests
from stagewright.release.manifest import write_manifest
from stagewright.root.overlay import mount_layers


def look_at(work: Work[ReleasedContext], role: str) -> tuple[Path, list[Package]]:
    """Mount the root that an input left, without a writable layer. Return it with its packages."""
    layers = work.layers(role)
    root = mount_layers([work.store.tree(Yields.LAYER, layer.key) for layer in layers], work.folder / "view")
    return root, packages_of(root, work.remembered(role))


def release(
    work: Work[ReleasedContext],
    artifact: Path,
    packages: Sequence[Package],
    digests: FileDigests,
    *others: FileDigests,
    **more: Any,
) -> None:
    """Write DIGESTS, .sha256 and the manifest of an artifact.

    ``others`` are the digests of its companion files, ``more`` are facts that only some artifacts have.
    """
    write_digests(artifact, [digests, *others])
    companions = {_role(artifact, other): other.to_dict() for other in others}
    write_manifest(artifact, {**made_of(work, digests), **companions, **more}, packages)


def made_of(work: Work[ReleasedContext], digests: FileDigests) -> dict[str, Any]:
    """Return the entries that every manifest has."""
    return {
        "artifact": digests.to_dict(),
        "project": {**work.context.project.model_dump(), "source_date_epoch": work.epoch},
        "stage": work.node.id,
        "key": work.key.digest,
        "lineage": [entry.to_dict() for entry in work.lineage],
    }


def _role(artifact: Path, other: FileDigests) -> str:
    """Return the name of a companion file in the manifest: ``contents`` for ``<artifact>.CONTENTS.gz``."""
    return other.file.removeprefix(f"{artifact.name}.").partition(".")[0].lower()
