"""A release in a container registry: one OCI artifact for each version, with a layer for each file.

The title of a layer is the path of its file: ``<version>/<file>``, and the pointer ``latest-<name>.txt`` with its
signatures and the public keys. So the files of an artifact are a folder that ``stagewright verify`` accepts.

The tag of a version is written when all blobs are there, and the tag ``latest`` after the version was read back, unless
it names a newer version. skopeo(1) copies, with the logins that it knows, and never changes a digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice, NodePhase
from stagewright.graph.file_digest import file_digest
from stagewright.publish.attempts import Attempts, Retries
from stagewright.publish.publisher import LocalRelease, Published
from stagewright.release.release_folder import LATEST
from stagewright.release.seen import version_order
from stagewright.run import Result, network, run
from stagewright.store.links import link

TYPE = "application/vnd.stagewright.release.v1"
"""Type of the artifact."""

_TITLE, _VERSION, _CREATED = (f"org.opencontainers.image.{name}" for name in ("title", "version", "created"))

_EMPTY = b"{}"
_UNKNOWN = re.compile(r"(manifest|name)[ _]unknown|repository name not known|StatusCode: 404", re.IGNORECASE)
"""Messages of skopeo about a registry that lacks a tag or the repository."""
_REFUSED = re.compile(r"unauthorized|denied|authentication required", re.IGNORECASE)
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?/")
"""Registries on this computer, which have no certificate."""


@dataclass(frozen=True)
class Registry:
    """A repository of a registry: ``registry.example.org/project/live``."""

    repository: str
    retries: Retries = field(default_factory=Retries)

    @classmethod
    def of(cls, url: str) -> Registry:
        """Return the repository of an address, ``oci://HOST/NAME``. Raises: USAGE for an invalid one."""
        found = re.fullmatch(r"oci://([A-Za-z0-9.\[\]:-]+(?:/[a-z0-9._-]+)+)", url)
        if not found or found[1].startswith("-"):
            raise StagewrightError(
                Reason.USAGE, f"{url}: not a repository", hint="write oci://HOST/NAME, without a tag"
            )
        return cls(found[1])

    @property
    def name(self) -> str:
        """The address for messages."""
        return f"oci://{self.repository}"

    def publish(self, release: LocalRelease, emit: Listener, *, dry_run: bool = False) -> Published:
        """Publish a release. Raises: DUPLICATE_NAME if the version exists with other content, else the failure."""
        version, attempts = tag_of(release.version), Attempts(self.name, emit, self.retries)
        with tempfile.TemporaryDirectory(dir=release.folder.parent, prefix=".registry-") as name:
            layout = Path(name, "layout")
            digest = write_layout(release, layout)
            there = attempts("look", lambda: self._manifest(version))
            if there is not None and digest_of(there) != digest:
                what = f"{version}: published at {self.name} already, with other content"
                raise StagewrightError(Reason.DUPLICATE_NAME, what, hint="raise `version` in [project]")
            files = release.files()
            folder = release.folder / release.version
            size = sum((folder / one).stat().st_size for one in files)
            result = Published(self.name, release.version, 0 if there else len(files), 0 if there else size)
            if dry_run:
                return Published(self.name, release.version, result.uploaded, result.bytes, (), True)
            if not there:
                emit(NodePhase(node=self.name, phase="upload"))
                attempts("upload", lambda: self._copy(f"oci:{layout}", self._reference(version), "--dest-tls-verify"))
            emit(NodePhase(node=self.name, phase="verify"))
            self._copy(self._reference(version), f"oci:{Path(name, 'copy')}", "--src-tls-verify")
            if digest_of(self._manifest(version) or b"") != digest:
                raise StagewrightError(Reason.DIGEST_MISMATCH, f"{version}: differs after the upload to {self.name}")
            if newer := self._newer(release):
                emit(NodeNotice(node=self.name, text=f"{newer} stays the newest version at {self.name}"))
            else:
                self._copy(f"oci:{layout}", self._reference(LATEST), "--dest-tls-verify")
        return result

    def _newer(self, release: LocalRelease) -> str:
        """Return the version of the tag ``latest`` if it is newer than a release, else ""."""
        data = self._manifest(LATEST)
        try:
            notes = json.loads(data or b"{}").get("annotations") or {}
            found = str(notes.get(_CREATED, "")), version_order(str(notes.get(_VERSION, "")))
        except (ValueError, AttributeError):
            return ""
        own = _created(release.description.date), version_order(release.version)
        return str(notes[_VERSION]) if found > own else ""

    def _reference(self, tag: str) -> str:
        return f"docker://{self.repository}:{tag}"

    def _manifest(self, tag: str) -> bytes | None:
        """Return the manifest of a tag; None if it does not exist."""
        result = self._skopeo("inspect", "--raw", *self._tls("--tls-verify"), self._reference(tag), check=False)
        if result.code:
            if _UNKNOWN.search(result.stderr):
                return None
            raise self._failure(result)
        return result.stdout.encode()

    def _copy(self, source: str, target: str, option: str) -> None:
        """Copy an image. skopeo verifies the digest of every blob that it reads."""
        self._skopeo("copy", "--quiet", "--preserve-digests", "--retry-times", "3", *self._tls(option), source, target)

    def _tls(self, option: str) -> list[str]:
        return [f"{option}=false"] if _LOOPBACK.match(self.repository) else []

    def _skopeo(self, *words: str, check: bool = True) -> Result:
        result = run(["skopeo", "--insecure-policy", *words], env=network(), check=False)
        if check and result.code:
            raise self._failure(result)
        return result

    def _failure(self, result: Result) -> StagewrightError:
        said = result.stderr.strip()
        if _REFUSED.search(said):
            what = f"{self.name}: the registry does not accept it"
            hint = f"log in: skopeo login {self.repository.partition('/')[0]}; the same command goes on"
            return StagewrightError(Reason.USAGE, what, detail=said, hint=hint)
        what, hint = f"{self.name}: the registry does not answer as expected", "try it: skopeo inspect"
        return StagewrightError(Reason.FETCH_FAILED, what, detail=said, hint=hint)


def digest_of(manifest: bytes) -> str:
    """Return the digest of a manifest."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _created(date: int) -> str:
    """Return a date (seconds since 1970) as annotations have it (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(date))


def tag_of(version: str) -> str:
    """Return the tag of a version: tags have no ``+``."""
    return version.replace("+", "_")[:128]


def write_layout(release: LocalRelease, folder: Path) -> str:
    """Write the version of a release as an OCI layout, with links to its files. Return the digest of its manifest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    files = {f"{release.version}/{name}": digest for name, digest in release.files().items()}
    files |= {name: file_digest(release.folder / name) for name in release.pointers()}
    layers = []
    for name, digest in files.items():
        source = release.folder / name
        if not (blobs / digest).exists():
            link(source, blobs / digest)
        layers.append(_descriptor("application/octet-stream", digest, source.stat().st_size, {_TITLE: name}))
    description = release.description
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": TYPE,
        "config": _descriptor("application/vnd.oci.empty.v1+json", _write(blobs, _EMPTY), len(_EMPTY)),
        "layers": layers,
        "annotations": {
            _TITLE: description.identity,
            _VERSION: description.version,
            _CREATED: _created(description.date),
        },
    }
    data = json.dumps(manifest, separators=(",", ":")).encode()
    digest = _write(blobs, data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    index = {"schemaVersion": 2, "manifests": [_descriptor(str(manifest["mediaType"]), digest, len(data))]}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return f"sha256:{digest}"


def _write(blobs: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return digest


def _descriptor(kind: str, digest: str, size: int, notes: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}
    return {**found, "annotations": notes} if notes else found
