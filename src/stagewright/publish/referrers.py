"""The referrers of a version in a registry: bills of materials, provenance and signatures that users find by it.

A registry lists the manifests with a subject itself (``/v2/<name>/referrers/<digest>``), or it does not know this
request. Then the tag ``sha256-<hex>`` of the subject's digest names an index with them: the referrers tag schema of the
OCI distribution specification. Entries of others in this index stay.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice
from stagewright.publish.attempts import Attempts
from stagewright.publish.oci_layout import INDEX, STATEMENTS, VERSION, Descriptor, Layout
from stagewright.publish.registry_api import RegistryApi, entries
from stagewright.publish.repository import Repository, digest_of


@dataclass(frozen=True)
class Referrers:
    """The referrers in a repository."""

    repository: Repository
    attempts: Attempts
    emit: Listener

    def add(self, layout: Layout) -> None:
        """Upload the referrers of a version that the registry lacks, and see that it lists them."""
        subject = layout.version["digest"]
        listed, own = self._listed(subject)
        known = {one["digest"] for one in listed}
        missing = [one for one in layout.referrers if one["digest"] not in known]
        for one in missing:
            digest = one["digest"]
            upload = partial(self.repository.upload, layout.source(digest), digest)
            self.attempts(f"upload {digest}", upload)
            data = self.attempts(f"verify {digest}", partial(self.repository.manifest, digest))
            if digest_of(data or b"") != digest:
                what = f"{digest}: differs after the upload to {self.repository.name}"
                raise StagewrightError(Reason.DIGEST_MISMATCH, what)
        if missing and own:
            self.attempts("list referrers", lambda: self._check(subject, layout.referrers))
        elif missing:
            self._write(subject, [*listed, *missing])

    def remove(self, subject: str, version: str) -> bool:
        """Delete the referrers of a version. Those of others stay. Return False if the registry does not delete."""
        listed, own = self._listed(subject)
        ours = [one for one in listed if _is_ours(one, version)]
        others = [one for one in listed if one not in ours]
        for one in ours:
            if not self.attempts("delete", partial(self.repository.delete, one["digest"])):
                return False
        if ours and not own:
            if others:
                self._write(subject, others)
            else:
                return self.attempts("delete", lambda: self.repository.delete(fallback_tag(subject)))
        return True

    def _listed(self, subject: str) -> tuple[list[Descriptor], bool]:
        """Return the referrers of a manifest, and True if the registry itself lists them."""
        found = self.attempts("list referrers", lambda: RegistryApi(self.repository).referrers(subject))
        if found is not None:
            return found, True
        data = self.attempts("list referrers", lambda: self.repository.manifest(fallback_tag(subject)))
        return entries(data) or [], False

    def _check(self, subject: str, wanted: Sequence[Descriptor]) -> None:
        """Check that the registry lists referrers. Raises: FETCH_FAILED."""
        known = {one["digest"] for one in RegistryApi(self.repository).referrers(subject) or []}
        if lacking := [one["digest"] for one in wanted if one["digest"] not in known]:
            what = f"{self.repository.name}: the registry does not list the referrer {lacking[0]}"
            raise StagewrightError(Reason.FETCH_FAILED, what)

    def _write(self, subject: str, listed: Sequence[Descriptor]) -> None:
        """Write the index of the tag schema."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        data, tag = json.dumps(index, separators=(",", ":")).encode(), fallback_tag(subject)
        written = self.attempts(f"write {tag}", lambda: RegistryApi(self.repository).put_index(tag, data))
        if not written:
            text = f"the registry does not accept the list of referrers ({tag}); the files themselves are there"
            self.emit(NodeNotice(node=self.repository.name, text=text))
        elif self.attempts(f"verify {tag}", lambda: self.repository.manifest(tag)) != data:
            raise StagewrightError(Reason.DIGEST_MISMATCH, f"{tag}: differs after the upload to {self.repository.name}")


def fallback_tag(digest: str) -> str:
    """Return the tag of the index with the referrers of a manifest."""
    return digest.replace(":", "-")


def _is_ours(one: Descriptor, version: str) -> bool:
    """Return True for a referrer that Stagewright has written for a version."""
    notes = one.get("annotations")
    return one.get("artifactType") in STATEMENTS.values() and isinstance(notes, dict) and notes.get(VERSION) == version
