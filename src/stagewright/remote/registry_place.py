"""A container registry as a place: a document is a tag, and blobs are blobs (OCI distribution specification 1.1).

The manifest of a document has the document itself as its config, and the blobs that it names as its layers. So the
registry keeps these blobs, and removes them by its own collection when no document names them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.publish.oci_layout import MANIFEST
from stagewright.publish.registry_api import RegistryApi
from stagewright.publish.repository import Repository, json_object
from stagewright.remote.place import CHUNK, SMALL, Blob, Found, Unfinished, missing

TYPE = "application/vnd.stagewright.store.v1"

_LONGEST_TAG = 128
_BLOB = re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{64})")
_PAGES = 10_000


def tag_of(path: str) -> str:
    """Return the tag of a document. Tags have no slashes, so ``--`` stands for them."""
    tag = re.sub(r"[^A-Za-z0-9_.-]", "_", path.replace("/", "--"))
    if len(tag) <= _LONGEST_TAG and "_" not in tag:
        return tag
    return f"{tag[:60]}-{hashlib.sha256(path.encode()).hexdigest()}"


@dataclass
class RegistryPlace:
    """A repository of a registry."""

    api: RegistryApi
    writable: bool = True
    lists: bool = False
    _kept: dict[str, dict[str, object]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, url: str) -> RegistryPlace:
        """Return the repository of an address, ``oci://HOST/NAME``. Raises: USAGE for an invalid one."""
        found = re.fullmatch(r"oci://([A-Za-z0-9.\[\]:-]+(?:/[a-z0-9._-]+)+)", url)
        if not found or found[1].startswith("-"):
            raise StagewrightError(
                Reason.USAGE, f"{url}: not a repository", hint="write oci://HOST/NAME, without a tag"
            )
        return cls(RegistryApi(Repository(found[1])))

    @property
    def name(self) -> str:
        """The address for messages."""
        return self.api.repository.name

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of a blob, or of the document that a tag names."""
        if blob := _BLOB.fullmatch(path):
            yield from self._blob(path, blob[1], start, size)
            return
        manifest = self._manifest(path)
        config = manifest.get("config") if manifest else None
        digest = str(config.get("digest", "")) if isinstance(config, dict) else ""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise missing(self, path)
        yield from self._blob(path, digest.partition(":")[2], start, size)

    def _blob(self, path: str, digest: str, start: int, size: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-{start + size - 1}"}
        with self.api.stream(f"blobs/sha256:{digest}", headers) as response:
            if response.status_code == 404:
                raise missing(self, path)
            if response.status_code == 416:
                return
            if response.status_code not in (200, 206):
                raise self._unexpected(path, response.status_code)
            skip, left = (start if response.status_code == 200 else 0), size
            for data in response.iter_raw(CHUNK):
                part = data[skip:][:left]
                skip = max(0, skip - len(data))
                left -= len(part)
                if part:
                    yield part
                if left <= 0:
                    return

    def _manifest(self, path: str) -> dict[str, object] | None:
        response = self.api.request("GET", f"manifests/{tag_of(path)}", {"Accept": MANIFEST})
        if response.status_code == 404:
            return None
        if response.status_code != 200 or len(response.content) > SMALL:
            raise self._unexpected(path, response.status_code)
        return json_object(response.content)

    def has(self, path: str) -> bool:
        """Return True if the registry has a blob or a tag."""
        blob = _BLOB.fullmatch(path)
        inner = f"blobs/sha256:{blob[1]}" if blob else f"manifests/{tag_of(path)}"
        response = self.api.request("HEAD", inner, {"Accept": MANIFEST})
        if response.status_code not in (200, 404):
            raise self._unexpected(path, response.status_code)
        return response.status_code == 200

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Upload a blob."""
        with source.open("rb") as stream:
            self._upload(blob.digest, stream.read())

    def _upload(self, digest: str, data: bytes) -> None:
        response = self.api.request("POST", "blobs/uploads/", {})
        where = response.headers.get("location", "")
        if response.status_code != 202 or not where:
            raise self._unexpected("blobs/uploads", response.status_code)
        more = f"{'&' if '?' in where else '?'}digest=sha256:{digest}"
        headers = {"Content-Type": "application/octet-stream"}
        response = self.api.request("PUT", where + more, headers, data)
        if response.status_code not in (201, 202, 204):
            raise self._unexpected(f"blobs/{digest}", response.status_code)

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Write the manifest of a document under its tag."""
        digest = hashlib.sha256(data).hexdigest()
        self._upload(digest, data)
        layers = [_descriptor(blob.digest, blob.size) for blob in refers] or [_descriptor(digest, len(data))]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": TYPE,
            "config": {**_descriptor(digest, len(data)), "mediaType": f"{TYPE}+json"},
            "layers": layers,
            "annotations": {"vnd.stagewright.path": path},
        }
        text = json.dumps(manifest, sort_keys=True).encode()
        response = self.api.request("PUT", f"manifests/{tag_of(path)}", {"Content-Type": MANIFEST}, text)
        if response.status_code not in (200, 201):
            raise self._unexpected(path, response.status_code)

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return the documents below a folder. The registry does not say when they were written."""
        start = tag_of(folder + "/")
        found: dict[str, Found] = {}
        for tag in self._tags():
            if not tag.startswith(start):
                continue
            manifest = self._by_tag(tag)
            notes = manifest.get("annotations")
            path = str(notes.get("vnd.stagewright.path", "")) if isinstance(notes, dict) else ""
            config = manifest.get("config")
            if path.startswith(f"{folder}/") and isinstance(config, dict):
                found[path.removeprefix(f"{folder}/")] = Found(int(config.get("size") or 0))
        return found

    def _by_tag(self, tag: str) -> dict[str, object]:
        response = self.api.request("GET", f"manifests/{tag}", {"Accept": MANIFEST})
        return json_object(response.content) if response.status_code == 200 else {}

    def _tags(self) -> list[str]:
        found: list[str] = []
        last = ""
        for _ in range(_PAGES):
            response = self.api.request("GET", f"tags/list?n=1000{f'&last={last}' if last else ''}", {})
            if response.status_code == 404:
                return found
            if response.status_code != 200:
                raise self._unexpected("tags", response.status_code)
            page = json_object(response.content).get("tags")
            names = [one for one in page if isinstance(one, str)] if isinstance(page, list) else []
            found += names
            if not names or "next" not in response.links or names[-1] == last:
                return found
            last = names[-1]
        return found

    def unfinished(self) -> Sequence[Unfinished]:
        """Return nothing: a registry removes uploads that were given up, and lists none."""
        return ()

    def remove(self, path: str) -> None:
        """Delete the manifest of a document. The registry removes its blobs."""
        if _BLOB.fullmatch(path):
            return
        response = self.api.request("HEAD", f"manifests/{tag_of(path)}", {"Accept": MANIFEST})
        if response.status_code == 404:
            return
        digest = response.headers.get("docker-content-digest", "")
        response = self.api.request("DELETE", f"manifests/{digest}", {})
        if response.status_code not in (200, 202, 404):
            what = f"{self.name}: the registry does not delete (status {response.status_code})"
            raise StagewrightError(Reason.NOT_SUPPORTED, what, hint="allow it in the registry, or remove tags there")

    def _unexpected(self, path: str, status: int) -> StagewrightError:
        if status in (401, 403):
            what = f"{self.name}: the registry does not accept it (status {status})"
            hint = f"log in: skopeo login {self.api.repository.path.partition('/')[0]}"
            return StagewrightError(Reason.USAGE, what, hint=hint)
        return StagewrightError(Reason.FETCH_FAILED, f"{self.name}: {path}: status {status}")

    def close(self) -> None:
        """End all connections."""
        self.api.close()


def _descriptor(digest: str, size: int) -> dict[str, object]:
    return {"mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": size}
