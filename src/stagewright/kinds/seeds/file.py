"""file: a root from a tarball or a folder of the project, unpacked once into a layer."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest, walk
from stagewright.kinds.common.archived import ArchiveSeed
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import ProjectFile
from stagewright.run import run
from stagewright.seeds.unpack import unpack


class FileContext(StageContext):
    """Context of a seed from a file or folder."""

    owners: str | None = None
    """A digest of the owners of a folder's files; None for a tarball."""


class FileSeed(ArchiveSeed, kind="file"):
    """A seed with ``file``."""

    context_model = FileContext

    file: Annotated[str, ProjectFile()]
    """A tarball (uncompressed, or compressed with xz, zstd, bzip2 or gzip), or a folder that contains the root."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The SHA-256 digest that the tarball must have."""

    def node_context(self, node_id: str, scope: Scope) -> FileContext:
        """Return the owners of a folder's files: the digest of the folder in the key does not cover them."""
        path = scope.project.path(self.file)
        owners = _owners(path) if path.is_dir() else None
        return FileContext(source_date_epoch=scope.project.epoch, owners=owners)

    def build(self, work: Work[FileContext]) -> Built:
        """Check the digest and unpack the archive. A folder is packed first, so that the same checks apply."""
        source = work.files[self.file]
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
        words = [
            "tar",
            "--create",
            f"--file={archive}",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--sparse",
        ]
        run([*words, "--exclude-vcs", f"--directory={source}", "."], log=work.log)
        # The number of files in a folder of the project is not limited.
        bounds = replace(self.limits.bounds(archive.stat().st_size), members=10**9)
        tree = self.unpacked(work, lambda tree: unpack(archive, tree, work.log, bounds, name=self.file), self.file)
        archive.unlink()
        assert work.context.owners, "the source is a folder"
        return Built(tree, LayerFacts(archive={"file": self.file, "owners": work.context.owners}))


def _owners(folder: Path) -> str:
    """Return UID:DIGEST: the owner of a folder, and a digest of the owners and groups of all files in it."""
    total = hashlib.sha256()
    for entry, relative in walk(folder):
        info = entry.stat(follow_symlinks=False)
        total.update(f"{relative}\0{info.st_uid}:{info.st_gid}\n".encode(errors="surrogateescape"))
    return f"{os.lstat(folder).st_uid}:{total.hexdigest()}"
