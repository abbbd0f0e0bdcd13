"""file: a root from a tarball or a folder of the project, unpacked once into a layer.

The key of a seed covers all that reaches the layer. A folder has the time stamp of the build on all its files. Its
owners, its capabilities and its ``user`` attributes are those of the checkout only with ``owners = "keep"``, and then
they are in the key.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stagewright.attributes import CAPABILITIES, attributes
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED, file_digest, walk
from stagewright.kinds.common.archived import ArchiveSeed
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import ProjectFile
from stagewright.run import run
from stagewright.seeds.unpack import unpack

_INCLUDED = (f"--xattrs-include={CAPABILITIES}", "--xattrs-include=user.*")
"""Arguments of tar(1) for the attributes that a layer gets: no access lists, and nothing that belongs to a computer."""


class FileContext(StageContext):
    """Context of a seed from a file or folder."""

    owners: str | None = None
    """A digest of the owners and extended attributes of a folder's files, if the seed keeps them."""


class FileSeed(ArchiveSeed, kind="file"):
    """A seed with ``file``."""

    context_model = FileContext

    file: Annotated[str, ProjectFile()]
    """A tarball (uncompressed, or compressed with xz, zstd, bzip2 or gzip), or a folder that contains the root."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The SHA-256 digest that the tarball must have."""
    owners: Literal["root", "keep"] = Field(default="root", exclude_if=lambda owners: owners == "root")
    """The owners of a folder's files: `root`, or `keep` for those in the folder, with its extended attributes."""

    def node_context(self, node_id: str, scope: Scope) -> FileContext:
        """Return the owners of a folder, if they are kept: the digest of the folder in the key does not cover them."""
        path = scope.project.path(self.file).resolve()  # tar packs the target of a link
        owners = _owners(path) if self.owners == "keep" and path.is_dir() else None
        return FileContext(source_date_epoch=scope.project.epoch, owners=owners)

    def build(self, work: Work[FileContext]) -> Built:
        """Check the digest and unpack the archive. A folder is packed first, so that the same checks apply."""
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
        facts = LayerFacts(archive={"file": self.file, "sha256": found})
        return Built(self.unpack(work, source, self.file), facts)

    def _of_folder(self, work: Work[FileContext], source: Path) -> Built:
        if self.sha256:
            what = f"{self.file}: `sha256` is for tarballs, and this is a folder"
            raise StagewrightError(
                Reason.INVALID_VALUE, what, hint="remove `sha256`; the content of the folder is part of the key"
            )
        archive = work.folder / "folder.tar"
        run([*_pack(archive, work.epoch, keep=self.owners == "keep"), f"--directory={source}", "."], log=work.log)
        # The number of files in a folder of the project is not limited.
        bounds = replace(self.limits.bounds(archive.stat().st_size), members=10**9)
        tree = self.unpacked(work, lambda tree: unpack(archive, tree, work.log, bounds, name=self.file), self.file)
        archive.unlink()
        owners = work.context.owners or "root"
        return Built(tree, LayerFacts(archive={"file": self.file, "owners": owners}))


def _pack(archive: Path, epoch: int, *, keep: bool) -> list[str]:
    """Return the command that packs a folder with nothing that its key does not cover."""
    words = ["tar", "--create", f"--file={archive}", "--numeric-owner", "--sparse"]
    words += [f"--mtime=@{epoch}", "--sort=name", "--hard-dereference"]
    words += [f"--exclude={name}" for name in sorted(IGNORED)]
    return [*words, *(("--xattrs", *_INCLUDED) if keep else ("--owner=0", "--group=0"))]


def _owners(folder: Path) -> str:
    """Return UID:DIGEST: the owner of a folder, and a digest of the owners and attributes of all files in it."""
    total = hashlib.sha256(_owner(folder).encode())
    for entry, relative in walk(folder):
        total.update(f"{relative}\0{_owner(entry.path)}\n".encode(errors="surrogateescape"))
    return f"{os.lstat(folder).st_uid}:{total.hexdigest()}"


def _owner(path: Path | str) -> str:
    info = os.lstat(path)
    found = attributes(path).items()
    kept = [f"{name}={value.hex()}" for name, value in found if name == CAPABILITIES or name.startswith("user.")]
    return " ".join([f"{info.st_uid}:{info.st_gid}", *kept])
