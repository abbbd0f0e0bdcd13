"""file: a root from a tarball or a folder of the project, unpacked once into a layer.

The key of a seed covers all that reaches the layer. A folder has the time stamp of the build on all its files. Its
owners, its capabilities and its ``user`` attributes are those of the checkout only with ``owners = "keep"``, and then
they are in the key.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stagewright.attributes import CAPABILITIES, attributes
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest, walk
from stagewright.ids import INVOKER, capability_of, is_private, outside
from stagewright.kinds.common.archived import ArchiveSeed
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import Matching, ProjectFile
from stagewright.units import parse_size


class FileContext(StageContext):
    """Context of a seed from a file or folder."""

    owners: str | None = None
    """A digest of the owners and extended attributes of a folder's files, if the seed keeps them."""


class FileSeed(ArchiveSeed, kind="file"):
    """A seed with ``file``."""

    context_model = FileContext

    file: Annotated[str, ProjectFile()]
    """A tarball (uncompressed, or compressed with xz, zstd, bzip2 or gzip), or a folder that contains the root."""
    sha256: Annotated[str, Matching("[0-9a-f]{64}", "the 64 digits that sha256sum prints")] | None = None
    """The SHA-256 digest that the tarball must have."""
    owners: Literal["root", "keep"] = Field(default="root", exclude_if=lambda owners: owners == "root")
    """The owners of a folder's files: `root`, or `keep` for those in the folder, with its extended attributes."""

    def node_context(self, node_id: str, scope: Scope) -> FileContext:
        """Return the owners of a folder, if they are kept: the digest of the folder in the key does not cover them."""
        path = scope.project.path(self.file).resolve()  # tar packs the target of a link
        owners = _owners(path) if self.owners == "keep" and path.is_dir() else None
        return FileContext(source_date_epoch=scope.project.epoch, owners=owners)

    def build(self, work: Work[FileContext]) -> Built:
        """Check the digest and unpack the archive, or copy the folder."""
        source = work.files[self.file].resolve()
        if source.is_dir():
            return self._of_folder(work, source)
        found = file_digest(source)
        if self.sha256 and found != self.sha256:
            raise StagewrightError(
                Reason.DIGEST_MISMATCH,
                f"{self.file}: wrong sha256 {found} (the project says {self.sha256})",
                hint="fetch the file again, or correct `sha256`",
            )
        return self.unpack(work, source, {"file": self.file, "sha256": found}, self.file)

    def _of_folder(self, work: Work[FileContext], source: Path) -> Built:
        from stagewright.seeds.copied import FolderCopy

        if self.sha256:
            what = f"{self.file}: `sha256` is for tarballs, and this is a folder"
            raise StagewrightError(
                Reason.INVALID_VALUE, what, hint="remove `sha256`; the content of the folder is part of the key"
            )
        keep = self.owners == "keep"
        if keep and _owners(source) != work.context.owners:
            what = f"{self.file}: owners or attributes that builds of this user cannot see, or that change now"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint='use owners = "root", or build as root')
        with self.filling(work, self.file) as tree:
            copy = FolderCopy(source, tree, work.epoch)
            copy.most = parse_size(self.limits.size) if self.limits.size else None
            if keep:
                copy.owner, copy.attributes = _true_owner, _true_attributes
            copy.make()
        facts = LayerFacts(archive={"file": self.file, "owners": work.context.owners or "root"})
        return Built(tree, facts, digested=tuple(copy.digested))


def _true_owner(info: os.stat_result) -> tuple[int, int]:
    """Return the owner of a file as it is outside of the user namespace."""
    return outside(info.st_uid), outside(info.st_gid, "gid")


def _true_attributes(place: Path | str | int) -> dict[str, bytes]:
    """Return the attributes of a file that a layer gets: no access lists, and nothing that belongs to a computer."""
    kept = {name: value for name, value in _attributes(place).items() if not name.startswith("user.overlay.")}
    return {name: value for name, value in kept.items() if name == CAPABILITIES or name.startswith("user.")}


def _owners(folder: Path) -> str:
    """Return UID:DIGEST: the owner of a folder, and a digest of the owners and attributes of all files in it."""
    total = hashlib.sha256(_owner(folder).encode())
    for entry, relative in walk(folder):
        total.update(f"{relative}\0{_owner(entry.path)}\n".encode(errors="surrogateescape"))
    return f"{outside(os.lstat(folder).st_uid)}:{total.hexdigest()}"


def _owner(path: Path | str) -> str:
    info = os.lstat(path)
    found = _attributes(path).items()
    kept = [f"{name}={value.hex()}" for name, value in found if name == CAPABILITIES or name.startswith("user.")]
    return " ".join([f"{outside(info.st_uid)}:{outside(info.st_gid, 'gid')}", *kept])


def _attributes(path: Path | str | int) -> dict[str, bytes]:
    """Return the extended attributes of a file as they are outside of the user namespace."""
    found = attributes(path)
    if is_private() and CAPABILITIES in found:
        found[CAPABILITIES] = capability_of(found[CAPABILITIES], INVOKER)
    return found
