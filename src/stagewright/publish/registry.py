"""A release in a container registry: one OCI artifact for each version, with a layer for each file.

The title of a layer is the path of its file: ``<version>/<file>``, and the pointer ``latest-<name>.txt`` with its
signatures and the public keys. So the files of an artifact are a folder that ``stagewright verify`` accepts.

1. The tag of a version is written when all blobs are there, and the version is read back.
2. Bills of materials, provenance and signatures become referrers of the version (publish/referrers.py).
3. The tag ``latest`` is written, unless it names a newer version.
4. Versions that no rule keeps are deleted: first their referrers, then the manifest with its tag. A removal that was
   cut goes on at the next publishing.

skopeo(1) copies, with the logins that it knows, and never changes a digest.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice, NodePhase
from stagewright.publish.attempts import Attempts, Retries
from stagewright.publish.oci_layout import CREATED, TITLE, TYPE, VERSION, Layout, created, write_layout
from stagewright.publish.publisher import LocalRelease, Published
from stagewright.publish.referrers import Referrers
from stagewright.publish.repository import Repository, digest_of, json_object
from stagewright.release.keep import DatedVersion, Keep
from stagewright.release.release_folder import LATEST
from stagewright.release.seen import version_order
from stagewright.temporary import temporary_folder


@dataclass(frozen=True)
class PublishedVersion:
    """A version in a registry: its name, date (seconds since 1970), and the digest of its manifest."""

    version: str
    date: int
    digest: str


@dataclass(frozen=True)
class Registry:
    """A repository of a registry. ``keep`` has the rules for old versions."""

    repository: Repository
    keep: Keep = field(default_factory=Keep)
    retries: Retries = field(default_factory=Retries)

    @classmethod
    def of(cls, url: str, keep: Keep | None = None) -> Registry:
        """Return the repository of an address, ``oci://HOST/NAME``. Raises: USAGE for an invalid one."""
        found = re.fullmatch(r"oci://([A-Za-z0-9.\[\]:-]+(?:/[a-z0-9._-]+)+)", url)
        if not found or found[1].startswith("-"):
            raise StagewrightError(
                Reason.USAGE, f"{url}: not a repository", hint="write oci://HOST/NAME, without a tag"
            )
        return cls(Repository(found[1]), keep or Keep())

    @property
    def name(self) -> str:
        """The address for messages."""
        return self.repository.name

    def publish(self, release: LocalRelease, emit: Listener, *, dry_run: bool = False) -> Published:
        """Publish a release. Raises: DUPLICATE_NAME if the version exists with other content, else the failure."""
        attempts = Attempts(self.name, emit, self.retries)
        with temporary_folder("registry", release.folder.parent, hidden=True) as work:
            layout = write_layout(release, work / "layout")
            there = self._is_there(release.version, layout, attempts)
            files, folder = release.files(), release.folder / release.version
            size = sum((folder / one).stat().st_size for one in files)
            result = Published(self.name, release.version, 0 if there else len(files), 0 if there else size)
            newer, newest = attempts("look", lambda: self._newer(release)) or ("", layout.version["digest"])
            old = self._old(release, newest, attempts, emit)
            if dry_run:
                return replace(result, removed=[one.version for one in old], dry_run=True)
            self._upload(release.version, layout, attempts, emit, there=there)
            Referrers(self.repository, attempts, emit).add(layout)
            if newer:
                emit(NodeNotice(node=self.name, text=f"{newer} stays the newest version at {self.name}"))
            else:
                source = layout.source(newest)
                attempts(f"write {LATEST}", lambda: self.repository.upload(source, LATEST))
            return replace(result, removed=self._remove(old, attempts, emit))

    def _is_there(self, version: str, layout: Layout, attempts: Attempts) -> bool:
        """Return True if the registry has the version. Raises: DUPLICATE_NAME for other content."""
        there = attempts("look", lambda: self.repository.manifest(tag_of(version)))
        if there is not None and digest_of(there) != layout.version["digest"]:
            what = f"{version}: published at {self.name} already, with other content"
            raise StagewrightError(Reason.DUPLICATE_NAME, what, hint="raise `version` in [project]")
        return there is not None

    def _upload(self, version: str, layout: Layout, attempts: Attempts, emit: Listener, *, there: bool) -> None:
        """Upload a version, unless it is there, and read it back."""
        tag, digest = tag_of(version), layout.version["digest"]
        if not there:
            emit(NodePhase(node=self.name, phase="upload"))
            attempts("upload", lambda: self.repository.upload(layout.source(digest), tag))
        emit(NodePhase(node=self.name, phase="verify"))
        copy = layout.folder.with_name("copy")
        attempts("verify", lambda: self.repository.download(tag, f"oci:{copy}"))
        if digest_of(attempts("verify", lambda: self.repository.manifest(tag)) or b"") != digest:
            raise StagewrightError(Reason.DIGEST_MISMATCH, f"{version}: differs after the upload to {self.name}")

    def _newer(self, release: LocalRelease) -> tuple[str, str] | None:
        """Return the version and the digest of the tag ``latest`` if it is newer than a release, else None."""
        data = self.repository.manifest(LATEST)
        notes = _annotations(data)
        found = notes.get(CREATED, ""), version_order(notes.get(VERSION, ""))
        own = created(release.description.date), version_order(release.version)
        return (notes.get(VERSION, ""), digest_of(data)) if data and found > own else None

    # old versions

    def _old(self, release: LocalRelease, newest: str, attempts: Attempts, emit: Listener) -> list[PublishedVersion]:
        """Return the versions that no rule keeps. One that another tag names stays; ``newest`` is a digest."""
        if self.keep == Keep():
            return []
        known, tags = self._versions(release.description.identity, attempts)
        dated = [DatedVersion(one.version, one.date) for one in known if one.version != release.version]
        dated.append(DatedVersion(release.version, release.description.date))
        unkept = {one.version for one in self.keep.removed(dated)} - {release.version}
        found = []
        for one in sorted(known, key=lambda one: (one.date, version_order(one.version))):
            if one.version not in unkept or one.digest == newest:
                continue
            if others := [tag for tag in tags[one.digest] if tag != tag_of(one.version)]:
                emit(NodeNotice(node=self.name, text=f"{one.version} stays: the tag {others[0]} names it too"))
            else:
                found.append(one)
        return found

    def _versions(self, identity: str, attempts: Attempts) -> tuple[list[PublishedVersion], dict[str, list[str]]]:
        """Return the versions of a release, and the tags of all manifests by digest, without ``latest``."""
        found: list[PublishedVersion] = []
        tags: dict[str, list[str]] = {}
        for tag in attempts("list", self.repository.tags):
            if tag == LATEST or re.fullmatch(r"sha256-[0-9a-f]{64}", tag):
                continue
            data = attempts("look", partial(self.repository.manifest, tag))
            if data is None:
                continue
            tags.setdefault(digest_of(data), []).append(tag)
            notes = _annotations(data)
            date = _date(notes.get(CREATED, ""))
            ours = json_object(data).get("artifactType") == TYPE and notes.get(TITLE) == identity
            if ours and date is not None and tag == tag_of(notes.get(VERSION, "")):
                found.append(PublishedVersion(notes[VERSION], date, digest_of(data)))
        return found, tags

    def _remove(self, old: Sequence[PublishedVersion], attempts: Attempts, emit: Listener) -> list[str]:
        """Delete versions and return their names. A registry that does not delete keeps them, with a notice."""
        removed = []
        referrers = Referrers(self.repository, attempts, emit)
        for one in old:
            delete = partial(self.repository.delete, one.digest)
            if not referrers.remove(one.digest, one.version) or not attempts(f"remove {one.version}", delete):
                names = ", ".join(each.version for each in old if each.version not in removed)
                emit(NodeNotice(node=self.name, text=f"the registry does not delete old versions: {names}"))
                break
            removed.append(one.version)
        return removed


def tag_of(version: str) -> str:
    """Return the tag of a version: tags have no ``+``."""
    return version.replace("+", "_")[:128]


def _annotations(data: bytes | None) -> dict[str, str]:
    """Return the annotations of a manifest that are texts; none for anything else."""
    found = json_object(data).get("annotations")
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _date(text: str) -> int | None:
    """Return the date of an annotation in seconds since 1970; None for another text."""
    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None
