"""Places of the sources that a release collects: the store, the addresses of the files, and the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stagewright.errors import StagewrightError
from stagewright.fetch.download import download
from stagewright.kinds.common.work import Work
from stagewright.portage.ebuild_facts import SourceFile
from stagewright.project.model import Project
from stagewright.release.sources import PATCHES, SourcePlaces
from stagewright.untrusted import is_dir


def patches_of(project: Project) -> dict[str, Path]:
    """Return the folders of user patches in the configuration of all stages, by the path that a node gives them."""
    names = {name for entry in project.entries["stages"].values() for name in getattr(entry.model, "confdir", ())}
    found = {f"{name}/{PATCHES}": project.path(name) / PATCHES for name in sorted(names)}
    return {name: path for name, path in found.items() if is_dir(path)}


def source_places(work: Work[Any]) -> SourcePlaces:
    """Return the places of the sources for a release."""
    patches = {name: path for name, path in work.files.items() if name.endswith(f"/{PATCHES}")}
    return SourcePlaces(
        distfiles=work.store.cache("distfiles"),
        repositories=work.node.files.repos,
        trees=work.key.data["repos"],
        patches={name.removesuffix(f"/{PATCHES}").replace("/", "-"): path for name, path in patches.items()},
        fetch=lambda source: _fetch(work, source),
    )


def _fetch(work: Work[Any], source: SourceFile) -> Path | None:
    """Download a source file, which packages from the binary cache do not need. Its digests are compared later."""
    addresses = [uri for uri in source.uris if uri.startswith(("https://", "http://"))]
    if not addresses:
        return None
    try:
        return download(addresses, work.folder / "fetched" / source.name, size=source.size)
    except StagewrightError as error:
        work.notice(f"{source.name}: {error.message}")
        return None
