"""One artifact in the folder of a release: links to its files, its manifest with the origin, and its provenance."""

from __future__ import annotations

import os
from pathlib import Path

from stagewright.kinds.common.work import Work
from stagewright.kinds.releases.origins import making_of, provenance_name
from stagewright.kinds.releases.release_context import ReleaseContext
from stagewright.release.artifact_digests import FileDigests
from stagewright.release.manifest import SUFFIX as MANIFEST
from stagewright.release.origin import Origin, write_with_origin
from stagewright.release.provenance import write_provenance
from stagewright.release.release_folder import ReleasedArtifact, digest_file, link_files
from stagewright.trees import files_below


def add_artifact(
    work: Work[ReleaseContext], role: str, folder: Path
) -> tuple[ReleasedArtifact, dict[str, FileDigests]]:
    """Link the files of an artifact into the folder of a release, and write its provenance.

    Return its entry in the description, and the digests of its files by path.
    """
    stage, file, meta = work.context.stages[role], work.context.files[role], work.meta(role)
    links = link_files(work.artifact(role), folder, "" if file else stage)
    _add_origin(work, role, folder / ("" if file else stage))
    found = [digest_file(folder, name) for name in links]
    known = {one.file: one for one in found}
    provenance = folder / provenance_name(file, stage)
    write_provenance(making_of(work, role), found, work.context.origins, provenance)
    os.utime(provenance, (work.epoch, work.epoch))
    size = known[file].size if file else sum(one.size for one in found)
    place = {"file": file} if file else {"folder": stage}
    path = str(provenance.relative_to(folder))
    return ReleasedArtifact(stage, meta.kind, meta.key, size, **place, provenance=path), known


def _add_origin(work: Work[ReleaseContext], role: str, folder: Path) -> None:
    """Replace the manifests of an artifact in a release by copies with its origin."""
    origins = work.context.origins
    origin = Origin(target=work.context.stages[role], source=origins.source, lock=origins.lock_text)
    tree = work.artifact(role)
    for name in [name for name in files_below(tree) if "/" not in name and name.endswith(f".{MANIFEST}")]:
        write_with_origin(tree / name, folder / name, origin, work.store)
        os.utime(folder / name, (work.epoch, work.epoch))
