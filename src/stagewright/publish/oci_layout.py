"""A version of a release as an OCI layout: its manifest, and a manifest for each statement about it.

The manifest of the version has a layer for each file. A bill of materials, a provenance or a signature also has a
manifest for itself, with the version as its ``subject``: a referrer (OCI image specification 1.1, manifest.md). Its
layer is the same blob as in the version.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.graph.file_digest import file_digest
from stagewright.publish.publisher import LocalRelease
from stagewright.release.release_folder import LISTS
from stagewright.store.links import link

TYPE = "application/vnd.stagewright.release.v1"
"""Type of the artifact of a version."""

TITLE, VERSION, CREATED = (f"org.opencontainers.image.{name}" for name in ("title", "version", "created"))

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

STATEMENTS = {
    ".spdx.json": "application/spdx+json",
    ".cdx.json": "application/vnd.cyclonedx+json",
    ".provenance.json": "application/vnd.in-toto+json",
    **{f"{name}.asc": "application/pgp-signature" for name in LISTS},
    **{f"{name}.minisig": "application/vnd.stagewright.minisign.v1" for name in LISTS},
}
"""Types of files that are referrers of a version, by the end of their names."""

_EMPTY = b"{}"
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_REFERENCE = "org.opencontainers.image.ref.name"

Descriptor = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """A layout: its folder, the descriptor of the version, and those of its referrers."""

    folder: Path
    version: Descriptor
    referrers: list[Descriptor]

    def source(self, digest: str) -> str:
        """Return the word for skopeo for the manifest with a digest."""
        return f"oci:{self.folder}:{digest.partition(':')[2]}"


def created(date: int) -> str:
    """Return a date (seconds since 1970) as annotations have it (RFC 3339)."""
    return time.strftime(_DATE, time.gmtime(date))


def statement_type(path: str) -> str:
    """Return the type of a file that is a referrer of its version; "" for another file."""
    return next((kind for end, kind in STATEMENTS.items() if path.endswith(end) and path != end[1:]), "")


def write_layout(release: LocalRelease, folder: Path) -> Layout:
    """Write the version of a release as an OCI layout, with links to its files."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    files = {f"{release.version}/{name}": digest for name, digest in release.files().items()}
    files |= {name: file_digest(release.folder / name) for name in release.pointers()}
    layers = {}
    for name, digest in files.items():
        source = release.folder / name
        if not (blobs / digest).exists():
            link(source, blobs / digest)
        layers[name] = _descriptor("application/octet-stream", digest, source.stat().st_size, {TITLE: name})
    description = release.description
    notes = {VERSION: description.version, CREATED: created(description.date)}
    version = _manifest(blobs, TYPE, list(layers.values()), {TITLE: description.identity, **notes})
    subject = {key: version[key] for key in ("mediaType", "digest", "size")}
    referrers = [
        _manifest(blobs, kind, [{**layer, "mediaType": kind}], {TITLE: name, **notes}, subject)
        for name, layer in layers.items()
        if name.startswith(f"{release.version}/") and (kind := statement_type(name))
    ]
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    entries = [{**one, "annotations": {_REFERENCE: one["digest"].partition(":")[2]}} for one in (version, *referrers)]
    index = {"schemaVersion": 2, "manifests": entries}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return Layout(folder, version, referrers)


def _manifest(
    blobs: Path,
    kind: str,
    layers: list[Descriptor],
    notes: Mapping[str, str],
    subject: Descriptor | None = None,
) -> Descriptor:
    """Write a manifest and return its descriptor, as lists of referrers have it (OCI distribution specification)."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": _descriptor("application/vnd.oci.empty.v1+json", _write(blobs, _EMPTY), len(_EMPTY)),
        "layers": layers,
        **({"subject": subject} if subject else {}),
        "annotations": notes,
    }
    data = json.dumps(manifest, separators=(",", ":")).encode()
    return {**_descriptor(MANIFEST, _write(blobs, data), len(data), notes), "artifactType": kind}


def _write(blobs: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return digest


def _descriptor(kind: str, digest: str, size: int, notes: Mapping[str, str] | None = None) -> Descriptor:
    found: Descriptor = {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}
    return {**found, "annotations": dict(notes)} if notes else found
