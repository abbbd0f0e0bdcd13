"""file: a root from a tarball of the project, unpacked once into a layer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.arch import Machine
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.filedigest import file_digest
from stagewright.project.fields import FilePath
from stagewright.root.emulation import machine_of
from stagewright.seeds.unpack import check_root, unpack
from stagewright.stages.base import Built, Seed, Work
from stagewright.stages.tools import SANDBOX, TAR
from stagewright.store.store import remove_tree


class SeedFile(Seed, kind="file"):
    """A seed with ``file``."""

    needs = (SANDBOX, TAR)

    file: FilePath
    """The tarball: plain, or compressed by xz, zstd, bzip2 or gzip."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The digest it must have."""

    def build(self, work: Work) -> Built:
        """Compare the digest, unpack the archive."""
        archive = work.files[self.file]
        found = file_digest(archive)
        if self.sha256 and found != self.sha256:
            raise StagewrightError(
                Reason.DIGEST_MISMATCH,
                f"{self.file} has sha256 {found}, the project says {self.sha256}",
                hint="fetch the file again, or correct `sha256`",
            )
        work.phase("unpack")
        tree = work.new_folder("tree")
        try:
            unpack(archive, tree, work.log)
            check_root(tree, self.file)
            self._compare(machine_of(tree))
        except StagewrightError:
            remove_tree(tree)  # a failed build's folder is kept, but not what a stranger put into it
            raise
        return Built(tree, (), {"archive": {"file": self.file, "sha256": found}})

    def _compare(self, machine: Machine | None) -> None:
        if machine and self.arch not in (None, machine.arch):
            raise StagewrightError(
                Reason.BAD_ARCHIVE,
                f"{self.file} holds programs for {machine.arch}, the project says {self.arch}",
                hint="name another file, or correct `arch`",
            )
