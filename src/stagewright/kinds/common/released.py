"""What all artifacts for people get beside them: digests, and the manifest of what they are made of (R109)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stagewright.graph.node import Yields
from stagewright.kinds.common.base import Scope, Work
from stagewright.portage.installed import Package, packages_of
from stagewright.release.artifact_digests import FileDigests, write_digests
from stagewright.release.manifest import write_manifest
from stagewright.root.overlay import mount_layers
from stagewright.store.store import Meta


def about(scope: Scope) -> dict[str, Any]:
    """What a manifest says of the project, for a node's context."""
    return {"project": {"name": scope.project.info.name, "version": scope.project.info.version}}


def look_at(work: Work, role: str) -> tuple[Path, list[Package]]:
    """The root that an input left, exactly, to be read only; and its packages."""
    layers = layers_of(work, role)
    root = mount_layers([work.store.tree(Yields.LAYER, layer.key) for layer in layers], work.folder / "view")
    return root, packages_of(root, [layer.facts for layer in layers])


def layers_of(work: Work, role: str) -> list[Meta]:
    """What is known of the layers of a root, topmost first."""
    stack = work.store.meta(Yields.LAYER, work.inputs[role].key).stack
    return [work.store.meta(Yields.LAYER, key) for key in stack]


def release(
    work: Work, artifact: Path, packages: Sequence[Package], digests: FileDigests, *others: FileDigests, **more: Any
) -> None:
    """Write DIGESTS, .sha256 and manifest for an artifact.

    ``others`` are files that lie beside it already, ``more`` are facts that only some artifacts have.
    """
    write_digests(artifact, [digests, *others])
    facts = {
        "artifact": digests.to_dict(),
        **{_role(artifact, other): other.to_dict() for other in others},
        "project": {**work.context["project"], "source_date_epoch": work.epoch},
        "stage": work.node,
        "key": work.key,
        "lineage": list(work.lineage),
        **more,
    }
    write_manifest(artifact, facts, packages)


def _role(artifact: Path, other: FileDigests) -> str:
    """What a file is to the artifact beside it: ``contents`` for ``<artifact>.CONTENTS.gz``."""
    return other.file.removeprefix(f"{artifact.name}.").partition(".")[0].lower()
