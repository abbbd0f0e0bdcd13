"""``<artifact>.manifest.json``: what an artifact is made of, all the way down, for people and programs.

::

    format      1
    artifact    file, size in bytes, digests by algorithm
    contents    the same for CONTENTS.gz, where there is one
    project     name, version, source_date_epoch
    stage, key
    lineage     every node below and the stage itself, inputs first: id, kind, key, inputs (role -> id), repositories
                and files (name -> digest of the tree); of seeds ``pin`` (every package; or file and digests) and
                ``archive`` (file or image, digests); ``binhosts`` (name -> uri, packages) where binary packages came
                from other machines
    payload     of live media: architecture; kernels with their versions; firmware and microcode that was asked for
    packages    by name: name (category/package-version), slot, repository, use, license, size in bytes

The ids of nodes are those of the project that built it first; everything else follows from the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.installed import Package, as_data
from stagewright.release.artifact_digests import companion

FORMAT = 1

SUFFIX = "manifest.json"


def write_manifest(artifact: Path, facts: Mapping[str, Any], packages: Sequence[Package]) -> None:
    """Write the manifest of an artifact beside it."""
    data = {"format": FORMAT, **facts, "packages": as_data(packages)}
    companion(artifact, SUFFIX).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest. Raises ``FORMAT`` for anything else."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert data["format"] == FORMAT
        assert isinstance(data["packages"], list)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise StagewrightError(
            Reason.FORMAT,
            f"{path} is no manifest of format {FORMAT}",
            hint="name an artifact or its manifest.json, as builds leave them in out/",
        ) from error
    return data
