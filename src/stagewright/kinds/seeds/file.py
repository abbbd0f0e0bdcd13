"""file: a root from a tarball or a folder of the project, unpacked once into a layer.

The key of a seed covers all that reaches the layer. A folder has the time stamp of the build on all its files. Its
owners, its capabilities and its ``user`` attributes are those of the checkout only with ``owners = "keep"``, and then
they are in the key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stagewright.attributes import CAPABILITIES, attributes
from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED, file_digest, walk
from stagewright.ids import INVOKER, capability_of, is_private, outside
from stagewright.kinds.common.archived import ArchiveSeed
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import Matching, ProjectFile
from stagewright.root.devices import DeviceNode
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
        return self.unpack(work, source, {"file": self.file, "sha256": found}, self.file)

    def _of_folder(self, work: Work[FileContext], source: Path) -> Built:
        if self.sha256:
            what = f"{self.file}: `sha256` is for tarballs, and this is a folder"
            raise StagewrightError(
                Reason.INVALID_VALUE, what, hint="remove `sha256`; the content of the folder is part of the key"
            )
        keep = self.owners == "keep"
        if keep and _owners(source) != work.context.owners:
            what = f"{self.file}: owners or attributes that builds of this user cannot see, or that change now"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint='use owners = "root", or build as root')
        archive = work.folder / "folder.tar"
        owners = list(_true_owners(source, work.folder)) if keep else ["--owner=0", "--group=0"]
        run([*_pack(archive, work.epoch), *owners, f"--directory={source}", "."], log=work.log)
        # The number of files in a folder of the project is not limited.
        bounds = replace(self.limits.bounds(archive.stat().st_size), members=10**9)

        def fill(tree: Path) -> Sequence[DeviceNode]:
            scan = unpack(archive, tree, work.log, bounds, name=self.file)
            if keep and is_private():
                _keep_capabilities(source, tree)
            return scan.devices

        built = self.unpacked(work, fill, self.file, {"file": self.file, "owners": work.context.owners or "root"})
        archive.unlink()
        return built


def _pack(archive: Path, epoch: int) -> list[str]:
    """Return the command that packs a folder with nothing that its key does not cover."""
    words = ["tar", "--create", f"--file={archive}", "--numeric-owner", "--sparse"]
    words += [f"--exclude={name}" for name in sorted(IGNORED)]
    return [*words, f"--mtime=@{epoch}", "--sort=name", "--hard-dereference"]


def _true_owners(folder: Path, work: Path) -> Iterator[str]:
    """Yield arguments of tar(1) that keep owners, as they are outside of the user namespace, and attributes."""
    infos = [os.lstat(folder), *(entry.stat(follow_symlinks=False) for entry, _ in walk(folder))]
    users, groups = {info.st_uid for info in infos}, {info.st_gid for info in infos}
    for name, of, found in (("owner", "uid", users), ("group", "gid", groups)):
        path = work / f"{name}.map"
        lines = [f"+{number} root:{outside(number, of)}\n" for number in sorted(found)]
        path.write_text("".join(lines), encoding="ascii")
        yield f"--{name}-map={path}"
    yield from ("--xattrs", *_INCLUDED)
    if is_private():
        yield f"--xattrs-exclude={CAPABILITIES}"  # see _keep_capabilities


def _keep_capabilities(folder: Path, tree: Path) -> None:
    """Set the capabilities of files, which tar(1) reads with the id of the root of another user namespace."""
    copy = Tree(tree, links=False)
    for entry, relative in walk(folder):
        value = _attributes(entry.path).get(CAPABILITIES)
        if value and copy.is_file(relative):
            with copy.descriptor(relative, os.O_RDONLY) as file:
                os.setxattr(file, CAPABILITIES, value)


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


def _attributes(path: Path | str) -> dict[str, bytes]:
    """Return the extended attributes of a file as they are outside of the user namespace."""
    found = attributes(path)
    if is_private() and CAPABILITIES in found:
        found[CAPABILITIES] = capability_of(found[CAPABILITIES], INVOKER)
    return found
