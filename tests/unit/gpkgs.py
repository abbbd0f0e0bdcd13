"""Binary packages for tests, as Portage makes them (GLEP 78)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from stagewright.portage import gpkg


def tar_of(files: Mapping[str, bytes], *, mtime: int = 0) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def package(cpv: str, build: int = 1, *, content: bytes = b"image", manifest: bytes | None = None) -> bytes:
    """The bytes of a package, given as category/name-version."""
    category, _, full = cpv.partition("/")
    said = {"CATEGORY": category, "PF": full, "BUILD_ID": str(build)}
    metadata = tar_of({f"metadata/{name}": value.encode() for name, value in said.items()})
    members = {"gpkg-1": b"", "metadata.tar": metadata, "image.tar": tar_of({"image/file": content})}
    if manifest is None:
        manifest = "".join(
            gpkg.record(name, len(data), gpkg.digests_of(iter([data]))) for name, data in members.items()
        ).encode()
    return tar_of({f"{full}-{build}/{name}": data for name, data in {**members, "Manifest": manifest}.items()})


def put(folder: Path, cpv: str, name: str, build: int = 1, *, content: bytes = b"image") -> Path:
    """Write a package into a folder of packages, below the category and ``name``."""
    category, _, full = cpv.partition("/")
    path = folder / category / name / f"{full}-{build}.gpkg.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(package(cpv, build, content=content))
    return path
