"""``<artifact>.manifest.json``: everything that an artifact is made of.

::

    format      1
    artifact    file, size in bytes, digests by algorithm
    contents    the same for CONTENTS.gz, if it exists
    project     name, version, source_date_epoch
    stage, key
    lineage     all nodes that it depends on and the stage itself, inputs first: id, kind, key, inputs (role -> id),
                repositories and files (name -> digest of the tree); for seeds ``pin`` (packages, or file and digests)
                and ``archive`` (file or image, digests); ``binhosts`` (name -> uri, packages) if binary packages came
                from other machines
    payload     for live media: architecture, kernels with their versions, requested firmware and microcode
    packages    by name: name (category/package-version), slot, repository, use, license, size in bytes, restrict,
                properties; those of Portage in the root. A release also has a bill of materials

Node ids come from the project that first built the artifact. Everything else depends only on the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.installed import Package, packages_as_data
from stagewright.release.artifact_digests import companion

FORMAT = 1

SUFFIX = "manifest.json"


def write_manifest(artifact: Path, facts: Mapping[str, Any], packages: Sequence[Package]) -> None:
    """Write the manifest of an artifact."""
    data = {"format": FORMAT, **facts, "packages": packages_as_data(packages)}
    companion(artifact, SUFFIX).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest. Raises ``FORMAT`` for any other file."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert data["format"] == FORMAT
        assert isinstance(data["packages"], list)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise StagewrightError(
            Reason.FORMAT,
            f"{path}: not a manifest of format {FORMAT}",
            hint="name an artifact in out/ or its manifest.json",
        ) from error
    return data
